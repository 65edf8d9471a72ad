"""full: every weight is trained, as the paper does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from accelerate import Accelerator
from torch import nn

from nfft.config.method import Method
from nfft.models.saving import save_network
from nfft.training.plan import Plan
from nfft.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Full(Method):
    """The paper's steps through the network; others train less of it in the same way, and extend this.

    Attributes:
        start: "probe" fits the classifier first, as `--method probe` does, and the steps begin with it
            (arXiv 2202.10054); with the checkpoint's, or a new one, when absent.
    """

    start: Literal["probe"] | None = None

    def trainer(self, plan: Plan, accelerator: Accelerator, folder: Path) -> Trainer:
        return Trainer(plan, accelerator, folder, probes_first=self.start is not None)

    def save(self, network: nn.Module, folder: Path, **description: Any) -> None:
        save_network(network, folder, **description)


METHOD = Full()
