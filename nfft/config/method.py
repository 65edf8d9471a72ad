"""A method: which part of a network a run trains, and how fast each part learns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Method:
    """Training every weight. A file in `nfft/methods/` defines one of these as METHOD; its fields are its settings."""

    # Whether what is trained is saved as changes of the checkpoint, beside which they are loaded.
    is_adapter: ClassVar[bool] = False
    # Whether the classifier is fitted to features that are computed once, in place of steps through the network.
    fits_features: ClassVar[bool] = False
    # Of the learning rate that a recipe has for training every weight.
    lr_factor: ClassVar[float] = 1.0

    def heeds(self, setting: str) -> bool:
        """Whether a setting of the recipe has any part in this."""
        return True

    def adapter(self, network: "nn.Module") -> "LoraConfig | None":
        """peft's description of what will be added to `network`; None where nothing is."""
        return None

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
