"""lora: low-rank changes of every convolution, and the classifier; the rest stays as it was. Saved as a few MB.

Source: arXiv 2106.09685 (LoRA), arXiv 2402.09353 (DoRA), in weight space: see nfft/models/lora.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval
from torch import Tensor, nn

from nfft.errors import UserError
from nfft.methods.full import Full
from nfft.models import lora
from nfft.models.adapter import base_of, save_adapter
from nfft.models.checkpoint import Checkpoint
from nfft.reporting.publish import check_base


@dataclass(frozen=True, kw_only=True)
class Lora(Full):
    """Attributes:
    rank: of each change; less where a weight has less.
    alpha: changes are multiplied by alpha / rank; the rank when absent.
    dropout: share of a change's numbers that a training step leaves out.
    dora: also train the length of each output unit.
    targets: patterns of convolutions' names, such as "conv1,attn*"; all when absent.
    """

    rank: int = 8
    alpha: float | None = None
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    dora: bool = False
    targets: str | None = None
    artifact: ClassVar[Literal["network", "adapter"]] = "adapter"
    # LOG.md has the sweep.
    lr_factor: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is not None and not 0 < self.alpha < 1e15:
            raise UserError(f"method.alpha must be above 0, and a number; got {self.alpha}.")

    def check_checkpoint(self, name: str, checkpoint: Checkpoint) -> None:
        if checkpoint.folder is None:
            raise UserError(f"--method {name} changes a checkpoint; {checkpoint.name} has no weights to change.")
        if checkpoint.base is not None:
            raise UserError(
                f"{checkpoint.name} is an adapter itself, and --method {name} would make one of it. Make a whole "
                f"network of it first: nfft merge {checkpoint.name} merged."
            )

    def check_shareable(self, checkpoint: Checkpoint, folder: Path) -> None:
        check_base(base_of(checkpoint)[0], str(folder))

    def prepare(self, network: nn.Module) -> None:
        alpha = self.rank if self.alpha is None else self.alpha
        config = lora.configure(
            network, rank=self.rank, alpha=alpha, dropout=self.dropout, dora=self.dora, targets=self.targets
        )
        lora.attach(network, config)
        # Where peft keeps it as well; with the classifier, which peft would save too.
        network.peft_config = {lora.ADAPTER: config}  # type: ignore[assignment]

    def floors(self, network: nn.Module) -> dict[Tensor, Tensor]:
        return lora.floors(network)

    def save(self, network: nn.Module, folder: Path, **description: Any) -> None:
        save_adapter(network, folder, config=network.peft_config[lora.ADAPTER], **description)  # type: ignore[index, arg-type]


METHOD = Lora()
