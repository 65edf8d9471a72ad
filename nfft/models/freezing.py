"""Which parameters of a network are trained, and how deep they lie."""

from collections.abc import Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Stages:
    """The parameters of a network from the stem on: what is before its stages, each of these, what comes after.

    Attributes:
        stem, stages, rest: parameters; the classifier's are in `rest`.
    """

    stem: list[Tensor]
    stages: list[list[Tensor]]
    rest: list[Tensor]

    def check(self, count: int) -> None:
        """See that there are `count` stages, for a method's setting.

        Raises:
            UserError: where there are fewer.
        """
        if not 0 <= count <= len(self.stages):
            raise UserError(f"method.stages must be from 0 to {len(self.stages)} for this network; got {count}.")


def stages_of(network: nn.Module) -> Stages:
    """The network's stages, as timm groups them."""
    groups = [(is_stage(names), tensors) for names, tensors in depth_groups(network, coarse=True).values()]
    places = [place for place, (staged, _) in enumerate(groups) if staged]
    first, end = (places[0], places[-1] + 1) if places else (len(groups), len(groups))
    return Stages(
        stem=[tensor for _, tensors in groups[:first] for tensor in tensors],
        stages=[tensors for _, tensors in groups[first:end]],
        rest=[tensor for _, tensors in groups[end:] for tensor in tensors],
    )


def is_stage(names: list[str]) -> bool:
    """Whether there is a stage of the body among these names: timm calls one stages.N, blocks.N or layerN."""
    return any(name.split(".")[0].rstrip("0123456789") in ("stages", "blocks", "layer") for name in names)
