"""Training steps, and what of them is between the gradient and the next batch: rows of gpu.py."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import architectures
import optimizer_step
import timm
import torch
from gpu_rows import Card, Row
from training_steps import Pace, Setting, Stepper, Timed, by_nfft, by_timm, compare, middle, release

from nfft.machine import memory_of
from nfft.optim.step import fastest_update
from nfft.training.memory import COPIES, saved_values

# nfft's step to timm's, eager and compiled; its optimizer step; EfficientNet-B7's to F1's (the paper's, on a TPUv3).
EAGER, COMPILED, OPTIMIZER, RIVAL = 0.8, 0.95, 0.2, 8.7
USABLE = 0.75  # of the memory, for activations
MOST_IMAGES = 512  # more fill a card no better, and take long to search convolutions for


@dataclass(frozen=True)
class Way:
    """A way to train: whose, what, and what makes it."""

    by: str
    setting: Setting
    make: Callable[[Setting], Stepper]


def beside_timm(setting: Setting, *, compiled: bool = False) -> list[Way]:
    suffix = ", compiled" if compiled else ""
    ways = {"nfft": partial(by_nfft, compiled=compiled), "timm": partial(by_timm, compiled=compiled)}
    return [Way(f"{by}{suffix}", setting, make) for by, make in ways.items()]


def beside_rival(ours: Setting, theirs: Setting) -> list[Way]:
    """A network with batch normalisation, and ours."""
    return [Way("timm, no AGC", theirs, partial(by_timm, clips=False)), Way("nfft", ours, by_nfft)]


def step_rows(what: str, ways: list[Way], target: float, card: Card, pace: Pace, profiles: Path) -> Iterator[Row]:
    """A step each way, with its ratio to the last way's. A batch that does not fit is halved until it does.

    Args:
        profiles: folder for what each step computes.
    """
    found: dict[str, Timed] = {}
    while not found:
        try:
            found = compare({way.by: partial(way.make, way.setting) for way in ways}, card.device, pace)
        except torch.OutOfMemoryError:
            images = ways[0].setting.images
            yield Row(what=what, network=ways[0].setting.network, images=images, note="does not fit")
            if images == 1:
                return
            ways = [replace(way, setting=replace(way.setting, images=images // 2)) for way in ways]
    last = found[ways[-1].by]
    for way in ways:
        timed, setting = found[way.by], way.setting
        if timed.profile:
            name = f"{what} {setting.network} {setting.images} {way.by}".replace(",", "").replace(" ", "-")
            (profiles / f"{name}.txt").write_text(timed.profile + "\n")
        row = timed_row(what, way, timed, card)
        yield row if timed is last else beside(row, timed, last, target)


def timed_row(what: str, way: Way, timed: Timed, card: Card) -> Row:
    setting = way.setting
    ms, low, high = middle(timed.ms)
    after, _, _ = middle(timed.after)
    tflops = 6 * macs(setting.network, setting.side) * setting.images / ms / 1e9
    return Row(
        what=what,
        network=setting.network,
        by=way.by,
        images=setting.images,
        side=setting.side,
        ms=ms,
        low=low,
        high=high,
        after=after,
        after_share=after / ms,
        computing=timed.computing,
        images_per_second=1000 * setting.images / ms,
        tflops=tflops,
        of_matmul=tflops / card.matmul,
        of_nominal=tflops / card.nominal if card.nominal else None,
        memory=timed.memory,
        first=timed.first,
    )


def beside(row: Row, one: Timed, other: Timed, target: float) -> Row:
    """The row with its ratio to another's steps."""
    rounds = [middle(mine)[0] / middle(theirs)[0] for mine, theirs in zip(one.rounds, other.rounds, strict=True)]
    _, low, high = middle(rounds)
    ratio = middle(one.ms)[0] / middle(other.ms)[0]
    return replace(row, ratio=ratio, ratio_low=low, ratio_high=high, target=target)


def optimizer_rows(network: str, device: torch.device, rounds: int) -> Iterator[Row]:
    """AGC, SGD and the average by themselves."""
    release(device)
    prepared = optimizer_step.prepared(network, device)
    update = partial(fastest_update, scaled=False)
    steps = optimizer_step.by_nfft(prepared, update), optimizer_step.by_timm(optimizer_step.copied(prepared))
    times = [[1000 * optimizer_step.seconds(step, device) for step in steps] for _ in range(rounds + 2)]
    ours, theirs = (Timed([[ms] for ms in column]) for column in zip(*times[2:], strict=True))
    for by, timed in (("nfft", ours), ("timm", theirs)):
        ms, low, high = middle(timed.ms)
        row = Row(what="optimizer step", network=network, by=by, ms=ms, low=low, high=high)
        yield row if timed is theirs else beside(row, timed, theirs, OPTIMIZER)


def most_images(network: str, side: int, device: torch.device) -> int:
    """The largest power of two that should fit on a GPU, beside the weights of what it is compared with."""
    with torch.device("meta"):
        shape = timm.create_model(network)
    weights = sum(parameter.numel() for parameter in shape.parameters()) * 4
    room = USABLE * memory_of(device) - 3 * COPIES * weights
    fitting = room / (2 * saved_values(shape, side))
    return min(MOST_IMAGES, 2 ** int(math.log2(max(1, fitting))))


@cache
def macs(network: str, side: int) -> int:
    """Multiply-adds of one image's forward pass."""
    return architectures.parameters_and_macs(network, side)[1]
