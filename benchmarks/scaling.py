"""What a run costs as data grow: 1,000 to 100,000 images, 10 to 10,000 classes.

    python benchmarks/scaling.py

Each row is a run of its own, the second on its data, for `datasets` and nfft keep what they find out about files the
first time; the time to the first step is given for both. The pictures are generated: JPEG files of 64 px, a folder a
class, of 1,000 contents. The network is small, so that what grows with the data shows.
"""

import argparse
import contextlib
import datetime
import io
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

SIZES = ((1_000, 10), (10_000, 10), (100_000, 10), (10_000, 1_000), (100_000, 10_000))
STEPS, BATCH, SIDE, CONTENTS = 40, 64, 64, 1_000


@dataclass(frozen=True)
class Row:
    """One run: seconds to its first step, images a second in training and in scoring, and bytes at its peak."""

    first_step: float
    training: float
    scoring: float
    memory: int


def generate(folder: Path, images: int, classes: int) -> None:
    """Pictures of blurred noise; those of one content are links to one file."""
    contents = folder / "contents"
    contents.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(min(images, CONTENTS)):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BICUBIC
        )
        file = io.BytesIO()
        coarse.save(file, "JPEG", quality=90)
        (contents / str(index)).write_bytes(file.getvalue())
    for name in range(classes):
        (folder / "photos" / f"class-{name:05}").mkdir(parents=True)
    for index in range(images):
        os.link(contents / str(index % CONTENTS), folder / "photos" / f"class-{index % classes:05}" / f"{index}.jpg")


def run(photos: Path, output: Path, home: Path) -> Row:
    command = [
        "nfft", "finetune", "--task", str(photos), "--model", "scratch:test_nfnet", "--steps", str(STEPS),
        "--batch-size", str(BATCH), "--output-dir", str(output), "--set", "evaluations=1",
        "--set", "train_resolution=32", "--set", "test_resolution=32",
    ]  # fmt: skip
    caches = {"HF_HOME": str(home / "huggingface"), "XDG_CACHE_HOME": str(home / "cache")}
    metrics, first, began = output / "metrics.jsonl", 0.0, time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, **caches}) as process:
        memory = 0
        while process.poll() is None:
            if not first and metrics.is_file() and metrics.stat().st_size:
                first = time.perf_counter() - began
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory = max(memory, psutil.Process(process.pid).memory_full_info().uss)
            time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    steps = [json.loads(line) for line in metrics.read_text().splitlines()]
    speed = statistics.median(line["images_per_second"] for line in steps if line["kind"] == "train")
    results = json.loads((output / "results.json").read_text())
    return Row(first, speed, results["validation"]["images_per_second"], memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=SIZES[-1][0], help="images of the largest data (default: all)")
    given = parser.parse_args()
    versions = f"torch {metadata.version('torch')}, datasets {metadata.version('datasets')}"
    print(f"{datetime.date.today()}; Python {platform.python_version()}, {versions}\n")
    print("| images | classes | first step, first run | again | training, images/s | scoring, images/s | peak memory |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for images, classes in SIZES:
        if images > given.largest:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            generate(work, images, classes)
            first, again = (run(work / "photos", work / name, work / "home") for name in ("first", "again"))
        print(f"| {images:,} | {classes:,} | {first.first_step:.1f} s | {again.first_step:.1f} s | {again.training:,.0f} "
              f"| {again.scoring:,.0f} | {again.memory / 2**20:,.0f} MiB |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
