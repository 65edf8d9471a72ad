"""Steps of a network with parameters of every shape, by either update; a program for Triton's interpreter."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nfft.optim.ema import Ema
from nfft.optim.param_groups import optimizer_groups
from nfft.optim.step import SequentialUpdate, Update, rehearse

STEPS, DECAY, EMA_DECAY, LR, SCALED, SCALE = 2, 0.03, 0.6, 0.1, "grouped.weight", 0.3
FLOORED, FLOOR = "thin.weight", 0.7


class Shapes(nn.Module):
    """A parameter of each kind; some units are longer than what the kernel takes at a time, and no multiple of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.grouped = nn.Conv2d(8, 20, 3, groups=4)
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12, bias=False)
        self.pointwise = nn.Conv2d(33, 5, 1)
        self.wide = nn.Conv2d(71, 3, (3, 5), bias=False)
        self.thin = nn.Linear(4, 37, bias=False)
        self.channels = nn.Conv1d(1, 1, 3, bias=False)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(70, 4)
        self.gain = nn.Parameter(torch.ones(600, 1, 1, 1))
        self.skipinit_gain = nn.Parameter(torch.zeros(()))
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(3))

    def get_classifier(self) -> nn.Module:
        return self.head


@dataclass(frozen=True)
class Case:
    """How steps are taken: `last` and `gradients_last` are whether tensors of four axes are channels_last."""

    clipping: float | None = 0.1
    momentum: float = 0.9
    ema: bool = True
    floors: bool = False
    last: bool = True
    gradients_last: bool = True
    broken: float | None = None  # put into a gradient at the last step
    in_turn_first: bool = False


CASES = {
    "channels last": Case(),
    "gradients in another order": Case(gradients_last=False),
    "weights in another order": Case(last=False),
    "no clipping": Case(clipping=None),
    "no momentum": Case(momentum=0.0),
    "no average": Case(ema=False),
    "floors": Case(floors=True),
    "momentum and average of steps in turn": Case(in_turn_first=True),
    "NaN": Case(broken=float("nan")),
    "infinity": Case(broken=float("inf")),
    "NaN without clipping": Case(clipping=None, broken=float("nan")),
}


def network(last: bool, device: str = "cpu") -> Shapes:
    """Weights drawn at random, some units of them zero."""
    shapes, rng = Shapes(), np.random.default_rng(0)
    for name, parameter in shapes.named_parameters():
        draw = rng.standard_normal(parameter.shape, np.float32) if parameter.ndim else np.float32(0)
        if parameter.ndim > 1 and len(parameter) > 2:
            draw[1] = 0
        if parameter.requires_grad and name != "unused":
            parameter.data = torch.tensor(draw)
    return shapes.to(device, memory_format=torch.channels_last if last else torch.contiguous_format)


def gradients(shapes: Shapes, step: int, case: Case) -> dict[str, Tensor]:
    """Of each parameter that is used: about half of the units are over the limit."""
    rng, draws = np.random.default_rng([1, step]), {}
    for name, parameter in shapes.named_parameters():
        if not parameter.requires_grad or name == "unused":
            continue
        sizes = 0.2 * rng.random((len(parameter) if parameter.ndim else 1, *[1] * (parameter.ndim - 1)), np.float32)
        draw = torch.tensor(
            rng.standard_normal(parameter.shape, np.float32) * sizes.reshape(sizes.shape[: parameter.ndim])
        )
        if case.broken is not None and step == STEPS - 1 and name == "stem.weight":
            draw[2, 1, 0, 2] = case.broken
        if draw.ndim == 4:
            draw = draw.to(memory_format=torch.channels_last if case.gradients_last else torch.contiguous_format)
        draws[name] = draw.to(parameter.device)
    return draws


def floors(shapes: Shapes) -> dict[Tensor, Tensor]:
    weight = shapes.get_parameter(FLOORED)
    return {weight: FLOOR * torch.linspace(0, 2, len(weight), device=weight.device)[:, None]}


def take_steps(case: Case, kind: type[Update], device: str = "cpu") -> dict[str, np.ndarray]:
    """What steps by `kind` come to: weights, momentum and average by name, and the share of units clipped in each."""
    shapes = network(case.last, device)
    scales = {shapes.get_parameter(SCALED): SCALE}
    groups = optimizer_groups(shapes, DECAY, scales)
    for group in groups:
        group["lr"] = LR * group["scale"]
    optimizer = torch.optim.SGD(groups, lr=LR, momentum=case.momentum, nesterov=case.momentum > 0)
    ema = Ema(shapes, EMA_DECAY) if case.ema else None
    updates = [kind(shapes, optimizer, ema)] * STEPS
    if case.in_turn_first:
        updates[0] = SequentialUpdate(shapes, optimizer, ema)
    shares = []
    for step, update in enumerate(updates):
        for name, gradient in gradients(shapes, step, case).items():
            shapes.get_parameter(name).grad = gradient
        shapes.norm.running_mean += 1
        shapes.norm.num_batches_tracked += 1
        share = update(clipping=case.clipping, floors=floors(shapes) if case.floors else None)
        shares.append(share.item())
        optimizer.zero_grad()
    outcome = {f"weights {name}": tensor.cpu().numpy() for name, tensor in shapes.state_dict().items()}
    for name, parameter in shapes.named_parameters():
        buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            outcome[f"momentum {name}"] = buffer.cpu().numpy()
    if ema is not None:
        outcome |= {f"average {name}": tensor.cpu().numpy() for name, tensor in ema.average.items()}
    return outcome | {"shares": np.array(shares)}


def main(folder: Path) -> None:
    """Take the steps of each case in one pass."""
    from nfft.optim.step_triton import FusedUpdate

    rehearse(FusedUpdate, torch.device("cpu"))
    for number, case in enumerate(CASES.values()):
        np.savez(folder / f"{number}.npz", **take_steps(case, FusedUpdate))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
