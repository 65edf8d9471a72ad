"""Batches out of loader workers, alone and into training steps: rows of gpu.py."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import loader_throughput
import numpy as np
from gpu_rows import Row
from loader_throughput import Compared
from PIL import Image
from training_steps import Pace, Setting, Timed, by_nfft, release, run, warmed

from nfft.config.recipe import Recipe
from nfft.cores import cores
from nfft.data.splits import Split

CLASSES, QUALITY = 10, 90
MAGNITUDE = 5  # of RandAugment: F0's in the paper
LIKE = "timm, RandAugment like nfft's"


@cache
def photographs(folder: Path, count: int, size: tuple[int, int]) -> Split:
    """Half of `count` JPEGs, which are made unless they are there: noise with detail at several scales.

    At 500 x 375 px one has about 90 kB, as photographs do.
    """
    if not any(folder.iterdir()):
        for name in range(CLASSES):
            (folder / str(name)).mkdir()
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(lambda n: _make(folder / str(n % CLASSES) / f"{n}.jpg", n, size), range(count)))
    return loader_throughput.images_of(folder, count // 2)


def _make(path: Path, seed: int, size: tuple[int, int]) -> None:
    draw, (width, height) = np.random.default_rng(seed), size
    picture = np.full((height, width, 3), 128, np.float32)
    for grain in (1, 4, 16, 64):
        coarse = draw.integers(0, 256, (height // grain + 2, width // grain + 2, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        picture += (np.asarray(smooth, np.float32) - 128) * (grain / 64) ** 0.2 / 2
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY)


def loader_rows(setting: Setting, folder: Path, split: Split, workers: int, pace: Pace) -> Iterator[Row]:
    """Batches out of timm's workers and nfft's, one after the other: each has all cores."""
    recipe = replace(setting.recipe(), randaugment=MAGNITUDE)
    loaders = {
        "timm": partial(timm_batches, folder, split, recipe, workers, like=False),
        LIKE: partial(timm_batches, folder, split, recipe, workers, like=True),
        "nfft": partial(nfft_batches, split, recipe, workers),
    }
    taken: dict[str, float] = {}
    for by, open_loader in loaders.items():
        taken[by] = milliseconds_each(open_loader(), 2 * workers, pace.seconds)
        release(setting.device)  # ends the workers
        row = Row(what="loader", by=by, images=setting.images, side=setting.side, ms=taken[by])
        row = replace(row, images_per_second=1000 * setting.images / taken[by], note=f"{workers} workers; mean")
        yield replace(row, ratio=taken[by] / taken[LIKE]) if by == "nfft" else row


def nfft_batches(split: Split, recipe: Recipe, workers: int) -> Iterator[Any]:
    """nfft's, without end; images are decoded each time."""
    return iter(loader_throughput.nfft_loader(split, recipe, range(10**6), kept=False, workers=workers))


def timm_batches(folder: Path, split: Split, recipe: Recipe, workers: int, *, like: bool) -> Iterator[Any]:
    """timm's, without end.

    Args:
        like: RandAugment with all its operations and the nearest pixel; otherwise as train.py has it.
    """
    timms = f"rand-m{recipe.randaugment}-n{recipe.randaugment_layers}"
    row = Compared("timm", recipe, True, f"{timms}-p1" if like else timms, nearest=like)
    loader = loader_throughput.timm_loader(folder, split, row, recipe.batch_size, workers=workers)
    return loader_throughput.forever(loader)


def milliseconds_each(batches: Iterator[Any], skipped: int, seconds: float) -> float:
    """Mean time of a batch, after those that workers have ready from the start."""
    for _ in range(skipped):
        next(batches)
    began, count = time.perf_counter(), 0
    while not count or time.perf_counter() - began < seconds:
        next(batches)
        count += 1
    return 1000 * (time.perf_counter() - began) / count


def fed_rows(setting: Setting, split: Split, workers: int, pace: Pace) -> Iterator[Row]:
    """nfft's steps with a batch at hand, then with the loader's."""
    recipe = replace(setting.recipe(), randaugment=MAGNITUDE)
    taken: list[float] = []
    for by, drained in (("nfft, batch at hand", 0), ("nfft", 2 * workers)):
        release(setting.device)
        batches = nfft_batches(split, recipe, workers) if drained else None
        stepper, timed = warmed(partial(by_nfft, setting, batches=batches), setting.device, pace)
        # What workers had ready from the start is no measure of them.
        run(stepper, setting.device, drained, Timed())
        began = time.perf_counter()
        while not timed.rounds or time.perf_counter() - began < pace.seconds:
            run(stepper, setting.device, pace.most_steps, timed)
        del stepper, batches
        taken.append(statistics.mean(timed.ms))
        row = Row(what="fed", network=setting.network, by=by, images=setting.images, side=setting.side, ms=taken[-1])
        row = replace(row, images_per_second=1000 * setting.images / taken[-1], memory=timed.memory, note="mean")
        yield replace(row, ratio=taken[1] / taken[0]) if drained else row
