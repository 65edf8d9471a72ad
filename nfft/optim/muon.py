"""Muon for convolutions: momentum that is made orthogonal, group by group; AdamW for what is no matrix."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.optim.muon import zeropower_via_newtonschulz
from torch import Tensor, nn

from nfft.optim.param_groups import classifier, decayed

BETAS = (0.9, 0.999)
# Of five Newton-Schulz iterations, after which singular values lie within 0.3 of 1.
# Source: timm's "quintic", from github.com/KellerJordan/modded-nanogpt.
COEFFICIENTS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


class Muon(torch.optim.Optimizer):
    """Muon for the weights in `matrices`, AdamW for everything else; both with decoupled decay, at one rate.

    A step's length is that of AdamW's: a root mean square of 0.2 times the rate for each number of a matrix.

    Args:
        groups: parameters, as any optimizer takes them.
        matrices: the weights that are matrices, and of how many: one for each group of a convolution.
        lr: the rate; each group may have its own, as may the decay.
        momentum: Nesterov's, of the matrices.
        fused: as for torch's AdamW.

    Source: Keller Jordan's Muon (kellerjordan.github.io/posts/muon), with the length of steps of arXiv 2502.16982.
    Differs: timm's Muon takes the groups of a convolution for one matrix, and multiplies in bf16 on a CPU as well,
        where that is ten times slower; in timm 1.0.26 its AdamW does not follow the schedule. torch's takes matrices
        alone.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        matrices: Mapping[Tensor, int],
        *,
        lr: float,
        momentum: float,
        fused: bool = False,
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "fused": fused})
        self.matrices = dict(matrices)
        # Its groups and its state are those here: a step hands them over.
        self.adamw = torch.optim.AdamW([nn.Parameter(torch.empty(0))], lr=lr, betas=BETAS, fused=fused)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        assert closure is None, "a step takes the gradients that are there"
        rest = []
        for group in self.param_groups:
            for weight in group["params"]:
                if weight in self.matrices and weight.grad is not None:
                    self._move(weight, weight.grad, group)
            others = [parameter for parameter in group["params"] if parameter not in self.matrices]
            rest.append({**self.adamw.defaults, **group, "params": others})
        self.adamw.param_groups, self.adamw.state = rest, self.state
        self.adamw.step()

    def _move(self, weight: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        direction = orthogonal(gradient.lerp(momentum, group["momentum"]), self.matrices[weight])
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(direction, alpha=-0.2 * group["lr"] * max(matrix_of(weight, self.matrices[weight])) ** 0.5)


def matrices(model: nn.Module) -> dict[Tensor, int]:
    """The weights that Muon moves, and of how many matrices each is; a row or column alone is none.

    The classifier is not among them, as in Keller Jordan's: its rows are classes, each of which is learned by itself.
    """
    layers = (module for module in model.modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear))
    groups = {layer.weight: getattr(layer, "groups", 1) for layer in layers}
    exempt = classifier(model).weight
    return {
        weight: groups[weight]
        for weight in decayed(model)
        if weight is not exempt and min(matrix_of(weight, groups[weight])) > 1
    }


def matrix_of(weight: Tensor, groups: int) -> tuple[int, int]:
    """Rows and columns of each matrix of a weight (out, fan-in, ...)."""
    return len(weight) // groups, weight[0].numel()


def orthogonal(update: Tensor, groups: int = 1) -> Tensor:
    """The nearest to `update` (out, fan-in, ...) whose matrices have singular values of 1, to about 0.3."""
    rows = update.reshape(groups, -1, update[0].numel())
    # On a GPU as fast as can be; a CPU without instructions for bf16 would take ten times as long.
    dtype = torch.bfloat16 if update.device.type == "cuda" else update.dtype
    found = zeropower_via_newtonschulz(rows, len(COEFFICIENTS), list(COEFFICIENTS), dtype=dtype)
    return found.to(update.dtype).reshape(update.shape)
