"""Exponential moving average of weights, with the paper's warm-up of the decay."""

from collections.abc import Set

import torch
from torch import Tensor, nn


class Ema:
    """Running average of a module's parameters and floating-point buffers, in their own precision (float32 here).

    Args:
        module: the network whose weights are averaged.
        decay: limit of the decay, in [0, 1); at step t it is min(decay, (1 + t) / (10 + t)).
        warmup: False keeps it constant, as timm does by default, to measure the difference.

    Attributes:
        average: the averaged tensors by name, as in a state dict.
        step: updates so far.

    Raises:
        ValueError: for a decay outside [0, 1).

    Source: arXiv 2102.06171, section 4.1; the warm-up is in the authors' code.
    Differs: timm's default keeps the decay constant, so that a short run's average is mostly its start.
    """

    def __init__(self, module: nn.Module, decay: float, warmup: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of an average must be at least 0 and below 1; got {decay}.")
        self.decay, self.warmup, self.step = decay, warmup, 0
        self.average = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    def decay_at(self, step: int) -> float:
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    @torch.no_grad()
    def update(self, module: nn.Module, moved: Set[str] = frozenset()) -> None:
        """Move the average toward the weights that an optimizer step has just made.

        Args:
            moved: names of tensors whose average has been moved already, together with the weights.
        """
        left = [name for name in self.average if name not in moved]
        tensors = module.state_dict() if left else {}
        averaged = [name for name in left if tensors[name].is_floating_point()]
        if averaged:
            averages, weights = [self.average[name] for name in averaged], [tensors[name] for name in averaged]
            torch._foreach_lerp_(averages, weights, 1 - self.decay_at(self.step))
        for name in set(left) - set(averaged):
            self.average[name].copy_(tensors[name])
        self.step += 1

    def __call__(self, module: nn.Module, images: Tensor) -> Tensor:
        """What `module` would answer with the averaged weights; it keeps its own."""
        return torch.func.functional_call(module, self.average, (images,))
