"""probe: the classifier alone, fitted to what the network makes of the images, which is computed once.

The quickest way to a classifier, and a measure of how well a checkpoint's features tell the classes apart. The L2
penalty with the lowest loss on validation is chosen (`method.l2` sets it); `method.views` adds augmented views of the
training images. LOG.md sets it beside steps of SGD.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from accelerate import Accelerator
from annotated_types import Interval, Le
from torch import nn

from nfft.config.method import Method
from nfft.data.augment import ALTERED, CROPPED
from nfft.errors import UserError
from nfft.models.freezing import train_only
from nfft.models.saving import save_network
from nfft.optim.param_groups import classifier
from nfft.training.plan import Plan
from nfft.training.probe.trainer import ProbeTrainer


@dataclass(frozen=True, kw_only=True)
class Probe(Method):
    """Attributes:
    l2: half of this times the squared length of the weights (of standardized features) is added to the loss; the
        best of thirteen from 10 down to 1e-5 when absent.
    views: augmented views of each training image, beside the plain one.
    stages: "all" fits a second classifier that sees every stage of the network, not the last layer alone, and is the
        one that nfft answers by; other loaders have the first, which is as it is without. The last layer's alone when
        absent.
    """

    l2: Annotated[float, Interval(ge=0), Le(1_000_000)] | None = None
    views: Annotated[int, Interval(ge=0), Le(1000)] = 0
    stages: Literal["all"] | None = None

    def __post_init__(self) -> None:
        if self.l2 is not None and not 0 <= self.l2 < math.inf:
            raise UserError(f"method.l2 must be a finite number of at least 0; got {self.l2}.")
        super().__post_init__()

    def heeds(self, setting: str) -> bool:
        looks = ("test_resolution", "test_margin", "workers", "threads")
        return setting in looks or (self.views > 0 and setting in (*CROPPED, *ALTERED))

    def prepare(self, network: nn.Module) -> None:
        train_only(network, classifier(network).parameters())

    def trainer(self, plan: Plan, accelerator: Accelerator, folder: Path) -> ProbeTrainer:
        return ProbeTrainer(plan, accelerator, folder, l2=self.l2, views=self.views, stages=self.stages is not None)

    def save(self, network: nn.Module, folder: Path, **description: Any) -> None:
        save_network(network, folder, **description)


METHOD = Probe()
