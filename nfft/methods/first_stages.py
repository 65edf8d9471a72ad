"""first-stages: the stem, the first stages of the body (`method.stages`), and the classifier.

For pictures that look unlike those of the checkpoint and show the same kind of things (arXiv 2210.11466); gradients go
through the whole network, and a step takes nearly the time of `full`.
"""

from dataclasses import dataclass

from torch import nn

from nfft.methods.full import Full
from nfft.models.freezing import stages_of, train_only
from nfft.optim.param_groups import classifier


@dataclass(frozen=True, kw_only=True)
class FirstStages(Full):
    """Attributes:
    stages: how many of the network's stages are trained, from the first; 0 leaves the stem and the classifier.
    """

    stages: int = 1

    def prepare(self, network: nn.Module) -> None:
        parts = stages_of(network)
        parts.check(self.stages)
        early = [tensor for stage in parts.stages[: self.stages] for tensor in stage]
        train_only(network, [*parts.stem, *early, *classifier(network).parameters()])


METHOD = FirstStages()
