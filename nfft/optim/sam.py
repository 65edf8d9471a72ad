"""Sharpness-aware minimization: take the gradient where the loss is worst nearby."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

RHO = 0.05


@contextmanager
def perturbed(parameters: Iterable[Tensor], loss: Tensor, rho: float = RHO) -> Iterator[None]:
    """Inside, the weights are moved by `rho` up the gradient of `loss`; afterwards they are what they were, to the bit.

    Args:
        parameters: those to move; ones that `loss` does not depend on stay.
        loss: a scalar, of the ascent: on 20 % of the same batch in the paper. Its graph is used up; no `.grad`
            changes and no process hears of it. Any positive multiple serves, such as a loss scaled for fp16.
        rho: length of the move, as the norm over all parameters together.

    Take the descent's gradient inside: `with perturbed(...): loss_of(batch).backward()`. A gradient that is not
    finite makes the moved weights NaN, so that what watches the descent's gradient (a loss scaler) sees it too.

    Raises:
        ValueError: for a negative `rho`.

    Source: arXiv 2010.01412, equation 2; arXiv 2102.06171, section 5, for the fifth of the batch.
    """
    if not rho >= 0:
        raise ValueError(f"rho, the length of SAM's move, must be at least 0; got {rho}.")
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    ascent = torch.autograd.grad(loss, trained, allow_unused=True)
    pairs = [(weight, gradient) for weight, gradient in zip(trained, ascent, strict=True) if gradient is not None]
    weights, gradients = [weight for weight, _ in pairs], [gradient for _, gradient in pairs]
    with torch.no_grad():
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)).float())
        saved = [weight.clone() for weight in weights]
        torch._foreach_mul_(gradients, torch.where(norm == 0, 0.0, rho / norm))
        torch._foreach_add_(weights, gradients)
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(weights, saved)
