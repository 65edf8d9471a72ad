"""Which parameters of a network are trained, and how deep they lie."""

from collections.abc import Iterable

from timm.models import group_parameters
from torch import Tensor, nn

from nfft.errors import UserError


def train_only(network: nn.Module, parameters: Iterable[Tensor]) -> None:
    """Freeze all but `parameters`.

    Raises:
        UserError: when nothing would be trained.
    """
    trained = {id(parameter) for parameter in parameters}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError(f"this method would train nothing of {type(network).__name__}. Choose another --method.")


def depth_groups(network: nn.Module, *, coarse: bool) -> dict[int, tuple[list[str], list[Tensor]]]:
    """Names and parameters by depth, from the stem on, as timm groups them.

    Args:
        coarse: by stage; otherwise by block.
    """
    matcher = network.group_matcher(coarse=coarse)  # type: ignore[operator]
    named = dict(network.named_parameters())
    groups = group_parameters(network, matcher)
    return {number: (names, [named[name] for name in names]) for number, names in sorted(groups.items())}
