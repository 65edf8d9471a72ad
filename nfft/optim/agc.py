"""Adaptive gradient clipping: a gradient may not be large next to the weights that it changes."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

EPS = 1e-3
TINY = 1e-6


@torch.no_grad()
def clip_gradients(
    parameters: Iterable[Tensor],
    clipping: float,
    eps: float = EPS,
    floors: Mapping[Tensor, Tensor] | None = None,
    whole_gains: bool = True,
) -> Tensor:
    """Clip the gradient of each unit to `clipping` times the norm of its weights, in place.

    A unit is one output row of a weight with all of its fan-in. A parameter with at most one axis
    longer than 1 (gain, bias, skip gain) is a single unit.

    Args:
        parameters: those to clip; ones without a gradient are passed over. Leave the weight of the
            final classifier out: it alone is never clipped (its bias is).
        clipping: the paper's lambda; 0.01 for batches of 1024 to 4096, larger for smaller batches.
        eps: floor of a unit's weight norm, so that zero-initialized units can move.
        floors: other floors by parameter, of a shape that fits its units' norms.
        whole_gains: False makes each element of a gain a unit, as timm does, to measure the difference.

    Returns:
        A scalar in [0, 1], the fraction of units whose gradient was clipped; NaN if a gradient is not finite.

    Gradients must be averaged over processes and unscaled. Norms are taken in float32.

    Raises:
        ValueError: when `clipping` is not above 0.

    Source: arXiv 2102.06171, section 4; `optim.py` of the authors' code for what counts as a unit.
    Differs: timm clips each element of a gain (C, 1, 1, 1) by itself; here its norm is the whole vector's.
    """
    if not clipping > 0:
        raise ValueError(f"AGC's lambda must be above 0; got {clipping}. Not to clip, leave the call out.")
    clipped, finite, units = [], [], 0
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        floor = eps if floors is None else floors.get(parameter, eps)
        limit = clipping * unit_norm(parameter, whole_gains).clamp(min=floor)
        norm = unit_norm(gradient, whole_gains)
        over = norm > limit
        # On a CPU one knows at once, and most gradients are short enough to stay as they are.
        if gradient.device.type != "cpu" or over.any():
            scale = torch.where(over, limit / norm.clamp(min=TINY), 1.0)
            gradient.mul_(scale.to(gradient.dtype))
        clipped.append(over.sum())
        finite.append(norm.isfinite().all())
        units += over.numel()
    if not clipped:
        return torch.zeros(())
    share = torch.stack(clipped).sum() / units
    return torch.where(torch.stack(finite).all(), share, torch.nan)


@torch.no_grad()
def clip_nothing(parameters: Iterable[Tensor]) -> Tensor:
    """What `clip_gradients` returns where nothing is clipped: 0, or NaN if a gradient is not finite."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norms = torch.stack([norm.float() for norm in torch._foreach_norm(gradients)])
    return torch.where(norms.isfinite().all(), 0.0, torch.nan)


def clip_before_each_step(
    optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor], clipping: float, eps: float = EPS
) -> RemovableHandle:
    """Have `optimizer` clip before each of its steps, in any training loop: after unscaling, and not in steps skipped.

    Args:
        optimizer: torch's own, before accelerate or another library wraps it.
        parameters, clipping, eps: as for `clip_gradients`.

    Returns:
        A handle whose `remove()` ends it.
    """
    if not clipping > 0:
        raise ValueError(f"AGC's lambda must be above 0; got {clipping}.")
    kept = list(parameters)

    def hook(*_: Any) -> None:
        clip_gradients(kept, clipping, eps)

    return optimizer.register_step_pre_hook(hook)


def unit_norm(tensor: Tensor, whole_gains: bool = True) -> Tensor:
    """Norm of each unit: shape (out, 1, ..., 1), or () for a gain, a bias or a scalar."""
    tensor = tensor.float()
    if tensor.ndim <= 1 or (whole_gains and sum(size > 1 for size in tensor.shape) <= 1):
        return tensor.norm()
    return torch.linalg.vector_norm(tensor, dim=tuple(range(1, tensor.ndim)), keepdim=True)
