"""One optimizer step, fused: AGC, SGD and EMA in one pass over memory, in a launch or two of one kernel.

Each program of the kernel takes some units: it adds up their norms, then reads weight, gradient, momentum and average
and writes all but the gradient. A unit lies in one piece in memory and is short, so that what was read for its norm is
read again from the cache.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from nfft.optim.agc import EPS, TINY, clip_nothing
from nfft.optim.ema import Ema
from nfft.optim.param_groups import clipped

# Units that a program takes, and how many elements of each at a time: of short units many, of others one.
SHORT, MANY, ONE = 32, (16, 32), (1, 512)
# Of a parameter the kernel reads: addresses of weight, gradient, momentum, average and floors, length and number of
# its units, its group, and whether it is clipped.
FIELDS = tl.constexpr(9)


@triton.jit
def move_units(
    tiles, table, rates, over, clipping, average_rate, UNITS: tl.constexpr, COLUMNS: tl.constexpr,
    EPS: tl.constexpr, TINY: tl.constexpr,
):  # fmt: skip
    """Move the units of one tile.

    Args:
        tiles: int32 (tiles, 2), the parameter of each and its first unit there.
        table: int64 (parameters, FIELDS).
        rates: float32 (groups, 3), learning rate, weight decay and momentum.
        over: float32 (), to which the number of units clipped is added, or NaN for a gradient that is not finite.
        clipping: AGC's lambda.
        average_rate: how far the average moves to the new weights, from 0 to 1.
    """
    tile = tiles + 2 * tl.program_id(0)
    row = table + tl.load(tile) * FIELDS
    weight = tl.load(row).to(tl.pointer_type(tl.float32))
    gradient = tl.load(row + 1).to(tl.pointer_type(tl.float32))
    momentum, average, floor = tl.load(row + 2), tl.load(row + 3), tl.load(row + 4)
    length, units = tl.load(row + 5), tl.load(row + 6)
    rate = rates + 3 * tl.load(row + 7)
    lr, decay, keep = tl.load(rate), tl.load(rate + 1), tl.load(rate + 2)

    unit = tl.load(tile + 1) + tl.arange(0, UNITS)
    column = tl.arange(0, COLUMNS)[None, :]
    exists = unit < units
    begins = (unit * length)[:, None]

    scale = tl.full((UNITS,), 1.0, tl.float32)
    if tl.load(row + 8) != 0:
        weights = tl.full((UNITS, COLUMNS), 0.0, tl.float32)
        gradients = tl.full((UNITS, COLUMNS), 0.0, tl.float32)
        for start in range(0, length, COLUMNS):
            inside = exists[:, None] & (start + column < length)
            w = tl.load(weight + begins + start + column, mask=inside, other=0.0)
            g = tl.load(gradient + begins + start + column, mask=inside, other=0.0)
            weights += w * w
            gradients += g * g
        least = tl.full((UNITS,), EPS, tl.float32)
        if floor != 0:
            least = tl.load(floor.to(tl.pointer_type(tl.float32)) + unit, mask=exists, other=EPS)
        limit = clipping * tl.maximum(tl.sqrt(tl.sum(weights, axis=1)), least)
        norm = tl.sqrt(tl.sum(gradients, axis=1))
        above = norm > limit
        scale = tl.where(above, limit / tl.maximum(norm, TINY), 1.0)
        counted = tl.where(norm < float("inf"), tl.where(above, 1.0, 0.0), float("nan"))
        count = tl.sum(counted, axis=0)
        tl.atomic_add(over, count, mask=count != 0, sem="relaxed")

    for start in range(0, length, COLUMNS):
        inside = exists[:, None] & (start + column < length)
        at = begins + start + column
        w = tl.load(weight + at, mask=inside, other=0.0)
        step = tl.load(gradient + at, mask=inside, other=0.0) * scale[:, None] + decay * w
        if momentum != 0:
            place = momentum.to(tl.pointer_type(tl.float32)) + at
            m = keep * tl.load(place, mask=inside, other=0.0) + step
            tl.store(place, m, mask=inside)
            step += keep * m
        w -= lr * step
        tl.store(weight + at, w, mask=inside)
        if average != 0:
            place = average.to(tl.pointer_type(tl.float32)) + at
            a = tl.load(place, mask=inside, other=0.0)
            tl.store(place, a + average_rate * (w - a), mask=inside)


class Trained(NamedTuple):
    """A parameter that is trained, as it is from the first step to the last."""

    weight: Tensor
    name: str
    length: int  # of a unit, in elements
    units: int
    group: int  # of the optimizer
    is_clipped: bool


class FusedUpdate:
    """The same as `SequentialUpdate`, to rounding, by the kernel above; for parameters on one GPU that the kernel fits.

    The table of parameters that the kernel reads stays on the device. Gradients are allocated in every step all the
    same: keeping them would take memory during the next forward pass, and clearing them and adding to them two more
    passes over it. When they come to lie elsewhere, the table, of some kB, is sent again.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None) -> None:
        self.network, self.optimizer, self.ema = network, optimizer, ema
        names = {parameter: name for name, parameter in network.named_parameters()}
        to_clip = set(clipped(network))
        self.trained = [
            Trained(parameter, names[parameter], *shape_in_units(parameter), number, parameter in to_clip)
            for number, group in enumerate(optimizer.param_groups)
            for parameter in group["params"]
        ]
        self.device = self.trained[0].weight.device
        # Sent again only when it has changed.
        self.table = lru_cache(maxsize=1)(lambda rows: send(rows, self.device, torch.int64))
        self.tiles = lru_cache(maxsize=1)(lambda shapes: cut_tiles(shapes, self.device))

    @torch.no_grad()
    def __call__(self, *, clipping: float | None, floors: Mapping[Tensor, Tensor] | None = None) -> Tensor:
        groups, ema, clips = self.optimizer.param_groups, self.ema, clipping is not None
        moved = [entry for entry in self.trained if entry.weight.grad is not None]
        unclipped = None if clips else clip_nothing([entry.weight for entry in moved])
        # The kernel gets addresses only: the tensors there must live until it has been launched.
        tensors = [self.tensors(entry, floors or {}) for entry in moved]
        rows = [
            (*map(address, own), entry.length, entry.units, entry.group, int(clips and entry.is_clipped))
            for entry, own in zip(moved, tensors, strict=True)
        ]
        table = self.table(tuple(rows))
        tiles = self.tiles(tuple((entry.length, entry.units) for entry in moved))
        rates = [(group["lr"], group["weight_decay"], group["momentum"]) for group in groups]
        average_rate = 0 if ema is None else 1 - ema.decay_at(ema.step)
        over = torch.zeros((), device=self.device)
        arguments = table, send(rates, self.device, torch.float32), over, float(clipping or 0), float(average_rate)
        for (units, columns), some in tiles.items():
            settings = {"UNITS": units, "COLUMNS": columns, "EPS": EPS, "TINY": TINY}
            move_units[(len(some),)](some, *arguments, **settings, enable_fp_fusion=True)

        written = [tensor for weight, _, momentum, average, _ in tensors for tensor in (weight, momentum, average)]
        torch.autograd.graph.increment_version([tensor for tensor in written if tensor is not None])
        if ema is not None:
            ema.update(self.network, moved={entry.name for entry in moved})
        if unclipped is not None:
            return unclipped
        return over / max(1, sum(entry.units for entry in moved if entry.is_clipped))

    def tensors(self, trained: Trained, floors: Mapping[Tensor, Tensor]) -> tuple[Tensor | None, ...]:
        """Weight, gradient, momentum, average and floors, with their elements in one order in memory."""
        weight, name, _, units, group, _ = trained
        assert weight.grad is not None
        gradient = weight.grad = in_order_of(weight, weight.grad)
        momentum = average = floor = None
        if self.optimizer.param_groups[group]["momentum"] != 0:
            state = self.optimizer.state[weight]
            # At its first step SGD takes the gradient itself: what nothing becomes, too.
            momentum = state.get("momentum_buffer")
            momentum = torch.zeros_like(weight) if momentum is None else in_order_of(weight, momentum)
            state["momentum_buffer"] = momentum
        if self.ema is not None:
            average = self.ema.average[name] = in_order_of(weight, self.ema.average[name])
        if floors and weight in floors:
            floor = floors[weight].float().flatten().expand(units).contiguous()
        return weight, gradient, momentum, average, floor


def address(tensor: Tensor | None) -> int:
    """Where the elements of a tensor begin in memory; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()


def fits(parameter: Tensor) -> bool:
    """Whether the kernel takes it: float32, and each unit in one piece of memory."""
    last = parameter.ndim == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    return parameter.dtype == torch.float32 and (last or parameter.is_contiguous())


def shape_in_units(parameter: Tensor) -> tuple[int, int]:
    """Elements of a unit, and units: as `unit_norm` of AGC has them."""
    units = 1 if sum(size > 1 for size in parameter.shape) <= 1 else len(parameter)
    return parameter.numel() // units, units


def in_order_of(parameter: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` if its elements lie in memory in the order of the parameter's, else a copy in which they do."""
    if tensor.stride() == parameter.stride() or order(tensor) == order(parameter):
        return tensor
    return torch.empty_like(parameter).copy_(tensor)


def order(tensor: Tensor) -> list[int]:
    """Strides, but for those of axes on which there are no steps to take."""
    return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]


def cut_tiles(shapes: Sequence[tuple[int, int]], device: torch.device) -> dict[tuple[int, int], Tensor]:
    """The parameter and the first unit of each tile, int32 (tiles, 2), by units and elements that a program takes."""
    tiles: dict[tuple[int, int], list[tuple[int, int]]] = {MANY: [], ONE: []}
    for number, (length, units) in enumerate(shapes):
        shape = MANY if length <= SHORT else ONE
        tiles[shape] += [(number, first) for first in range(0, units, shape[0])]
    return {shape: send(rows, device, torch.int32) for shape, rows in tiles.items() if rows}


def send(numbers: Sequence[Sequence[float]], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A tensor of `numbers` on the device; the copy is asynchronous."""
    return torch.tensor(numbers, dtype=dtype, pin_memory=device.type == "cuda").to(device, non_blocking=True)
