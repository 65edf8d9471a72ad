"""How many augmented images a second one loader process delivers: nfft's loader and timm's, interleaved.

    OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/loader_throughput.py photos/

`photos/` holds a folder of images for each class. No workers are started: what is timed is the work of one, from the
file to a batch of uint8 images (both move, convert and normalise batches outside the workers). Seconds are the
processor's, so that waiting for a shared core does not count. Prints medians over rounds in which every loader delivers
the same images once, and the ratio within each round.

The augmentation is that of the recipe `imagenet`. timm gets it as its train.py would set it up: bicubic crops, no
colour jitter, FastCollateMixup (mode "elem": ratios per image, as here), RandAugment. RandAugment's layers differ:

    nfft           4 operations, always; what is moved or turned takes the nearest pixel, as the authors' does
    timm           4 operations, each with probability 1/2; those interpolate as the crop does
    timm, p1       4 operations, always
    timm, nearest  4 operations, always; with the nearest pixel, which timm has no setting for: the like of nfft's

nfft takes each image out of the file of decoded ones that a run makes at its start, or decodes it each time.
"""

import argparse
import datetime
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import PIL.features
import timm
import torch
from PIL import Image
from timm.data import FastCollateMixup, create_dataset, create_loader
from timm.data.auto_augment import RandAugment

from nfft.config.recipe import Facts, Recipe
from nfft.config.task import Task
from nfft.data.decode_cache import Decoded, fill_cache
from nfft.data.loader import train_loader
from nfft.data.scan import scan_split
from nfft.data.splits import Split, load_data
from nfft.recipes import imagenet

# px of the views in one row more.
SMALL = 64
HEAD = """\
| augmentation | nfft's images | nfft, images/s | timm, images/s | nfft / timm | quartiles |
|---|---|---:|---:|---:|---:|"""


@dataclass(frozen=True)
class Compared:
    """A row of the table: what nfft's recipe and timm's loader are told."""

    name: str
    recipe: Recipe
    mixes: bool
    auto_augment: str | None
    nearest: bool = False


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    # timm clips magnitudes above 10.
    arguments.add_argument("--variant", default="f0", choices=("f0", "f1", "f2"), help="whose resolution and magnitude")
    arguments.add_argument("--images", type=int, default=256, help="a round's, of each loader")
    arguments.add_argument("--batch", type=int, default=64)
    arguments.add_argument("--rounds", type=int, default=12)
    given = arguments.parse_args()
    if given.images % given.batch or given.batch % 2:
        arguments.error("--images must be a multiple of --batch, and --batch even")

    # As in a worker.
    torch.set_num_threads(1)
    split = images_of(given.folder, given.images)
    fill_cache(split, int(scan_split(split).sizes.prod(axis=1).sum()))
    steps = range((given.rounds + 1) * given.images // given.batch)
    rows = compared(given.variant, given.batch)
    loaders: dict[str, Iterator[Any]] = {}
    for row in rows:
        for kept in (False, True):
            loaders.setdefault(nfft_name(row, kept), iter(nfft_loader(split, row.recipe, steps, kept=kept)))
        loaders[timm_name(row)] = forever(timm_loader(given.folder, split, row, given.batch))

    rates: dict[str, list[float]] = {name: [] for name in loaders}
    # The first round fills the file system's memory; it does not count.
    for number in range(given.rounds + 1):
        for name, batches in loaders.items():
            began = time.process_time()
            for _ in range(given.images // given.batch):
                next(batches)
            if number:
                rates[name].append(given.images / (time.process_time() - began))
    report(given, split, rows, rates)


def compared(variant: str, batch: int) -> list[Compared]:
    facts = Facts(10**6, 1000, 400, f"dm_nfnet_{variant}", 192, 256, pretrained=False, requested_batch=batch)
    paper = imagenet.recipe(facts)
    mixing = replace(paper, randaugment=None)
    timms = f"rand-m{paper.randaugment:g}-n{paper.randaugment_layers}"
    plain = replace(mixing, mixup=None, cutmix=False)
    return [
        Compared("crop, flip", plain, False, None),
        Compared(f"the same, to {SMALL} px", replace(plain, train_resolution=SMALL), False, None),
        Compared("+ MixUp, CutMix", mixing, True, None),
        Compared("+ RandAugment; timm", paper, True, timms),
        Compared("+ RandAugment; timm, p1", paper, True, f"{timms}-p1"),
        Compared("+ RandAugment; timm, nearest", paper, True, f"{timms}-p1", nearest=True),
    ]


def images_of(folder: Path, count: int) -> Split:
    """`count` training images, the same for each loader."""
    split = load_data(Task("photos", str(folder))).train
    if len(split) < count:
        sys.exit(f"{folder} has {len(split)} images to train on; fewer than --images {count}")
    return split.keep(np.random.default_rng(0).permutation(len(split))[:count])


def nfft_name(row: Compared, kept: bool) -> str:
    recipe = row.recipe
    return f"nfft {recipe.train_resolution} {recipe.mixup} {recipe.randaugment} {kept}"


def timm_name(row: Compared) -> str:
    return f"timm {row.name}"


def nfft_loader(
    split: Split, recipe: Recipe, steps: range, *, kept: bool, workers: int = 0
) -> torch.utils.data.DataLoader:
    decoded = Decoded(split) if kept else None
    return train_loader(split, recipe, seed=0, steps=steps, rank=0, processes=1, workers=workers, decoded=decoded)


def timm_loader(
    folder: Path, split: Split, row: Compared, batch: int, *, workers: int = 0
) -> torch.utils.data.DataLoader:
    dataset = create_dataset("folder/", root=str(folder))
    dataset.reader.samples = [(split[index], int(label)) for index, label in enumerate(split.labels)]
    mixing = FastCollateMixup(row.recipe.mixup, cutmix_alpha=1.0, mode="elem", num_classes=1000) if row.mixes else None
    loader = create_loader(
        dataset,
        (3, row.recipe.train_resolution, row.recipe.train_resolution),
        batch,
        is_training=True,
        color_jitter=None,
        auto_augment=row.auto_augment,
        interpolation="bicubic",
        num_workers=workers,
        collate_fn=mixing,
        device=torch.device("cpu"),
    )
    if row.nearest:
        distort = next(step for step in dataset.transform.transforms if isinstance(step, RandAugment))
        for operation in distort.ops:
            operation.kwargs["resample"] = Image.Resampling.NEAREST
    # What PrefetchLoader takes from: its own work is not a worker's.
    return loader.loader


def forever(batches: torch.utils.data.DataLoader) -> Iterator[Any]:
    while True:
        yield from batches


def report(given: argparse.Namespace, split: Split, rows: list[Compared], rates: dict[str, list[float]]) -> None:
    width, height = np.median(scan_split(split).sizes, axis=0)
    recipe = rows[-1].recipe
    print(f"{given.rounds} rounds of {given.images} images, median {width:g} x {height:g} px, to ", end="")
    print(f"{recipe.train_resolution} px; batch {given.batch}, RandAugment's magnitude {recipe.randaugment:g}")
    jpeg = PIL.features.version("libjpeg_turbo")
    print(f"{processor()}, one core; Python {platform.python_version()}, torch {torch.__version__}, ", end="")
    print(f"NumPy {np.__version__}, Pillow {PIL.__version__} (libjpeg-turbo {jpeg}), timm {timm.__version__}; ", end="")
    print(f"{datetime.date.today()}\n\n{HEAD}")
    for kept in (False, True):
        for row in rows:
            ours, theirs = rates[nfft_name(row, kept)], rates[timm_name(row)]
            ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            cells = [row.name, "decoded once, kept" if kept else "decoded each time"]
            cells += [f"{statistics.median(ours):.0f}", f"{statistics.median(theirs):.0f}"]
            print(f"| {' | '.join(cells)} | {middle:.2f} | {low:.2f} to {high:.2f} |")


def processor() -> str:
    """The name that Linux has for it, where there is one."""
    listed = Path("/proc/cpuinfo")
    names = [line for line in listed.read_text().splitlines() if "model name" in line] if listed.exists() else []
    return names[0].partition(": ")[2] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
