"""last-stages: the classifier, what leads to it, and the last stages of the body (`method.stages`)."""

from dataclasses import dataclass

from torch import nn

from nfft.errors import UserError
from nfft.methods.full import Full
from nfft.models.freezing import depth_groups, train_only


@dataclass(frozen=True, kw_only=True)
class LastStages(Full):
    """Attributes:
    stages: how many of the network's stages are trained, from the last; 0 leaves the classifier and the final layers.
    """

    stages: int = 1

    def prepare(self, network: nn.Module) -> None:
        groups = depth_groups(network, coarse=True)
        bodies = sorted({group for group, (names, _) in groups.items() if is_stage(names)})
        if not 0 <= self.stages <= len(bodies):
            raise UserError(f"method.stages must be from 0 to {len(bodies)} for this network; got {self.stages}.")
        first = bodies[len(bodies) - self.stages] if self.stages else max(bodies, default=-1) + 1
        late = (tensors for group, (_, tensors) in groups.items() if group >= first)
        train_only(network, [tensor for tensors in late for tensor in tensors])


def is_stage(names: list[str]) -> bool:
    """Whether there is a stage of the body among these names: timm calls one stages.N, blocks.N or layerN."""
    return any(name.split(".")[0].rstrip("0123456789") in ("stages", "blocks", "layer") for name in names)


METHOD = LastStages()
