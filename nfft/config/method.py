"""A method: what of a network a run trains, with which trainer, and how the outcome is saved."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from nfft.config.fields import check_bounds, check_type, expectations

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a file in `nfft/methods/` defines as METHOD; its fields are its settings, with their bounds beside them.

    A method that takes the paper's steps through the network extends `nfft.methods.full.Full`. One that trains in
    another way brings a trainer of its own, as `probe` does.
    """

    # What is saved: a whole network, or changes of the checkpoint, beside which they are loaded.
    artifact: ClassVar[Literal["network", "adapter"]] = "network"
    # Of the learning rate that a recipe has for training every weight.
    lr_factor: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        kind: type = type(self)
        for name, expected in expectations(kind).items():
            check_type(f"method.{name}", getattr(self, name), expected)
            check_bounds(f"method.{name}", getattr(self, name), expected, mend="")

    def heeds(self, setting: str) -> bool:
        """Whether a setting of the recipe has any part in this."""
        return True

    def check_checkpoint(self, name: str, checkpoint: Any) -> None:
        """See that there is something to train in `checkpoint`, before the data are looked at.

        Args:
            name: of the method, as `--method` takes it.
            checkpoint: a `nfft.models.checkpoint.Checkpoint`.

        Raises:
            UserError: when there is not.
        """

    def check_shareable(self, checkpoint: Any, folder: Path) -> None:
        """See that what will be saved in `folder` could be used by others, before it is trained.

        Raises:
            UserError: when it could not.
        """

    def prepare(self, network: "nn.Module") -> None:
        """Freeze what is not trained, and add what is: by `requires_grad` the rest of the toolkit knows it.

        Raises:
            UserError: when the settings do not fit the network.
        """

    def scales(self, network: "nn.Module") -> "dict[Tensor, float]":
        """Factors of the learning rate; parameters that are not named learn at the full rate."""
        return {}

    def floors(self, network: "nn.Module") -> "dict[Tensor, Tensor]":
        """What AGC takes for the norms of units that are shorter; its own eps for parameters that are not named."""
        return {}

    def trainer(self, plan: Any, accelerator: "Accelerator", folder: Path) -> Any:
        """What trains the network in this process, a `nfft.training.base.BaseTrainer`.

        Args:
            plan: what to train on what, a `nfft.training.plan.Plan`.
            folder: of the run, where it keeps its states.
        """
        raise NotImplementedError(f"{type(self).__name__} has no trainer")

    def save(
        self,
        network: "nn.Module",
        folder: Path,
        *,
        checkpoint: Any,
        classes: list[str],
        preprocessing: dict[str, Any],
    ) -> None:
        """Write what was trained as others load it: the whole network, or an adapter.

        Args:
            network: as training has left it.
            checkpoint: what it started from.
            classes: in the order of the logits.
            preprocessing: in timm's words.
        """
        raise NotImplementedError(f"{type(self).__name__} saves nothing")
