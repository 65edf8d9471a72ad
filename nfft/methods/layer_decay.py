"""layer-decay: every weight is trained, the slower the farther from the classifier (`method.decay` a depth group).

Source: arXiv 2106.08254 (BEiT) for the rule; depth groups are timm's.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from nfft.errors import UserError
from nfft.methods.full import Full
from nfft.models.freezing import depth_groups


@dataclass(frozen=True, kw_only=True)
class LayerDecay(Full):
    """Attributes:
    decay: factor of the learning rate from one depth group to the one before it; the classifier's is 1.
    """

    decay: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise UserError(f"method.decay must be above 0 and at most 1; got {self.decay}.")

    def scales(self, network: nn.Module) -> dict[Tensor, float]:
        groups = depth_groups(network, coarse=False)
        deepest = max(groups)
        return {tensor: self.decay ** (deepest - group) for group, (_, tensors) in groups.items() for tensor in tensors}


METHOD = LayerDecay()
