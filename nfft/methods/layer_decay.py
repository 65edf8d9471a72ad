"""layer-decay: every weight is trained, the slower the farther from the classifier (`method.decay` a depth group).

Source: arXiv 2106.08254 (BEiT) for the rule; depth groups are timm's.
"""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval
from torch import Tensor, nn

from nfft.methods.full import Full
from nfft.models.freezing import depth_groups


@dataclass(frozen=True, kw_only=True)
class LayerDecay(Full):
    """Attributes:
    decay: factor of the learning rate from one depth group to the one before it; the classifier's is 1.
    """

    decay: Annotated[float, Interval(gt=0, le=1)] = 0.75

    def scales(self, network: nn.Module) -> dict[Tensor, float]:
        groups = depth_groups(network, coarse=False)
        deepest = max(groups)
        return {tensor: self.decay ** (deepest - group) for group, (_, tensors) in groups.items() for tensor in tensors}


METHOD = LayerDecay()
