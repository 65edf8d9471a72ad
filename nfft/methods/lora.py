"""lora: low-rank changes of every convolution, and the classifier; the rest stays as it was. Saved as a few MB.

Source: arXiv 2106.09685 (LoRA), arXiv 2402.09353 (DoRA), in weight space: see nfft/lora.py.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from nfft.config.method import Method
from nfft.errors import UserError

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Lora(Method):
    """Attributes:
    rank: of each change; less where a weight has less.
    alpha: changes are multiplied by alpha / rank; the rank when absent.
    dropout: share of a change's numbers that a training step leaves out.
    dora: also train the length of each output unit.
    targets: patterns of convolutions' names, such as "conv1,attn*"; all when absent.
    """

    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    dora: bool = False
    targets: str | None = None
    is_adapter: ClassVar[bool] = True
    # LOG.md has the sweep.
    lr_factor: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"method.dropout must be at least 0 and below 1; got {self.dropout}.")
        if self.alpha is not None and not 0 < self.alpha < 1e15:
            raise UserError(f"method.alpha must be above 0, and a number; got {self.alpha}.")

    def prepare(self, network: "nn.Module") -> None:
        from nfft.models import lora

        lora.attach(network, self.adapter(network))

    def adapter(self, network: "nn.Module") -> "LoraConfig":
        """peft's description of the adapters, for a network that has none yet."""
        from nfft.models import lora

        alpha = self.rank if self.alpha is None else self.alpha
        return lora.configure(
            network, rank=self.rank, alpha=alpha, dropout=self.dropout, dora=self.dora, targets=self.targets
        )

    def floors(self, network: "nn.Module") -> "dict[Tensor, Tensor]":
        from nfft.models import lora

        return lora.floors(network)


METHOD = Lora()
