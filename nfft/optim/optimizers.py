"""The optimizers that a run can have: SGD as the paper has it, AdamW, and Muon."""

from typing import Any

import torch
from torch import nn

from nfft.optim.muon import BETAS, Muon, matrices


def make_optimizer(
    name: str, model: nn.Module, groups: list[dict[str, Any]], *, lr: float, momentum: float, fused: bool
) -> torch.optim.Optimizer:
    """The optimizer called `name`, for groups of the model's parameters.

    Args:
        groups: as `optimizer_groups` makes them. Their decay is part of the gradient for SGD; for the others it is
            taken off the weights, in the measure of the rate.
        lr: of it, not of SGD.
        momentum: of SGD and Muon Nesterov's; of AdamW the first beta.
        fused: whether the step is one pass over memory; Muon's is for what it leaves to AdamW.
    """
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=fused)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr, betas=(momentum, BETAS[1]), fused=fused)
    return Muon(groups, matrices(model), lr=lr, momentum=momentum, fused=fused)
