"""Which parameters decay and which are clipped: decided by what a parameter is, not where it stands."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn


def classifier(model: nn.Module) -> nn.Linear | nn.Conv2d:
    """The final classifier of a timm model: a linear layer, or the same as a 1x1 convolution."""
    return cast(nn.Linear | nn.Conv2d, model.get_classifier())  # type: ignore[operator]


def decayed(model: nn.Module) -> list[Tensor]:
    """Weights of convolutions and linear layers; not gains, biases, skip gains or norms.

    Source: arXiv 2102.06171, appendix; the authors' code drops names with gain or bias.
    Differs: timm decays the gains, because their tensors have four axes.
    """
    return [
        module.weight
        for module in model.modules()
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)) and module.weight.requires_grad
    ]


def optimizer_groups(model: nn.Module, weight_decay: float, scales: Mapping[Tensor, float] | None = None) -> list[dict]:
    """Groups for an optimizer: weights with `weight_decay`, everything else without.

    Args:
        scales: factors of the learning rate by parameter, 1 where absent; each group has its own as "scale".
    """
    weights = {id(weight) for weight in decayed(model)}
    groups: dict[tuple[bool, float], list[Tensor]] = {(True, 1.0): [], (False, 1.0): []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = id(parameter) in weights, (scales or {}).get(parameter, 1.0)
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "scale": scale}
        for (decays, scale), parameters in groups.items()
        if parameters
    ]


def clipped(model: nn.Module) -> list[Tensor]:
    """Everything that is trained, except the weight of the final classifier."""
    exempt = classifier(model).weight
    return [p for p in model.parameters() if p.requires_grad and p is not exempt]
