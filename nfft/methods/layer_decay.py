"""layer-decay: every weight is trained, the slower the farther from the classifier (`method.decay` a depth group).

Source: arXiv 2106.08254 (BEiT) for the rule; depth groups are timm's.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nfft.config.method import Method
from nfft.errors import UserError
from nfft.models.freezing import depth_groups

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class LayerDecay(Method):
    """Attributes:
    decay: factor of the learning rate from one depth group to the one before it; the classifier's is 1.
    """

    decay: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise UserError(f"method.decay must be above 0 and at most 1; got {self.decay}.")

    def scales(self, network: "nn.Module") -> "dict[Tensor, float]":
        groups = depth_groups(network, coarse=False)
        deepest = max(groups)
        return {each: self.decay ** (deepest - group) for group, (_, tensors) in groups.items() for each in tensors}


METHOD = LayerDecay()
