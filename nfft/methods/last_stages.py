"""last-stages: the classifier, what leads to it, and the last stages of the body (`method.stages`)."""

from dataclasses import dataclass

from torch import nn

from nfft.methods.full import Full
from nfft.models.freezing import stages_of, train_only


@dataclass(frozen=True, kw_only=True)
class LastStages(Full):
    """Attributes:
    stages: how many of the network's stages are trained, from the last; 0 leaves the classifier and the final layers.
    """

    stages: int = 1

    def prepare(self, network: nn.Module) -> None:
        parts = stages_of(network)
        parts.check(self.stages)
        late = parts.stages[len(parts.stages) - self.stages :]
        train_only(network, [*(tensor for stage in late for tensor in stage), *parts.rest])


METHOD = LastStages()
