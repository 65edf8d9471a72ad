"""full: every weight is trained, as the paper does."""

from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from nfft.config.method import Method
from nfft.models.saving import save_network
from nfft.training.plan import Plan
from nfft.training.trainer import Trainer


class Full(Method):
    """The paper's steps through the network; others train less of it in the same way, and extend this."""

    def trainer(self, plan: Plan, accelerator: Accelerator, folder: Path) -> Trainer:
        return Trainer(plan, accelerator, folder)

    def save(self, network: nn.Module, folder: Path, **description: Any) -> None:
        save_network(network, folder, **description)


METHOD = Full()
