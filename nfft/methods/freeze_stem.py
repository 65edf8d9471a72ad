"""freeze-stem: every weight but the stem's and, by `method.stages`, those of the first stages of the body.

The first layers are those whose features most tasks share, at the largest size of the image: without their gradients a
step is shorter, and takes less memory.
"""

from dataclasses import dataclass

from torch import nn

from nfft.methods.full import Full
from nfft.models.freezing import stages_of, train_only


@dataclass(frozen=True, kw_only=True)
class FreezeStem(Full):
    """Attributes:
    stages: how many of the network's stages are left as they are beside the stem, from the first.
    """

    stages: int = 0

    def prepare(self, network: nn.Module) -> None:
        parts = stages_of(network)
        parts.check(self.stages)
        late = [tensor for stage in parts.stages[self.stages :] for tensor in stage]
        train_only(network, [*late, *parts.rest])


METHOD = FreezeStem()
