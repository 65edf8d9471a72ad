"""What a run costs as data grow: 1,000 to 100,000 images, 10 to 10,000 classes.

    python benchmarks/scaling.py

The first table is of runs that train every weight. Each row has two on the same data, for `datasets` and nfft keep what
they find out about files the first time; the time to the first step is given for both. The pictures are generated: JPEG
files of 64 px, a folder a class, of 1,000 contents. The network is small, so that what grows with the data shows.

The second is of the solver of `--method probe`, on features that do not fit in its memory and are read from disk in
each of its iterations.

Memory is the process's own: pages of files that the system may drop at any time are not counted.
"""

import argparse
import datetime
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = ((1_000, 10), (10_000, 10), (100_000, 10), (10_000, 1_000), (100_000, 10_000))
STEPS, BATCH, SIDE, CONTENTS = 40, 64, 64, 1_000
ROWS, WIDTH, CLASSES = (100_000, 200_000, 400_000), 512, 100
SOLVE = """
import sys, numpy as np, torch
from pathlib import Path
from nfft import logistic
from nfft.features import Features
path = Path(sys.argv[1])
logistic.CACHE_BYTES = 0
labels = np.load(path.with_name("labels.npy"))
rows = logistic.Rows([Features(path, labels, "", len(labels))], torch.device("cpu"))
print(next(logistic.path(rows, int(labels.max()) + 1, [0.01])).iterations)
"""


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
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env={**os.environ, **caches}) as process,
    ):
        memory = 0
        while process.poll() is None:
            if not first and metrics.is_file() and metrics.stat().st_size:
                first = time.perf_counter() - began
            memory = max(memory, own_memory(process.pid))
            time.sleep(0.02)
        said.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read()[-3000:]}")
    steps = [json.loads(line) for line in metrics.read_text().splitlines()]
    speed = statistics.median(line["images_per_second"] for line in steps if line["kind"] == "train")
    results = json.loads((output / "results.json").read_text())
    return Row(first, speed, results["validation"]["images_per_second"], memory)


def own_memory(pid: int) -> int:
    """Bytes of a process that are no file's; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return 1024 * int(found[1]) if (found := re.search(r"RssAnon:\s+(\d+)", status)) else 0


def solve(folder: Path, rows: int) -> tuple[float, int, int]:
    """Seconds, iterations and peak memory of the solver for one penalty."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, rows)
    centres = rng.normal(size=(CLASSES, WIDTH)).astype(np.float32)
    features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float16, (rows, WIDTH))
    for start in range(0, rows, 10_000):
        part = labels[start : start + 10_000]
        features[start : start + 10_000] = centres[part] + 3 * rng.standard_normal((len(part), WIDTH), np.float32)
    features.flush()
    np.save(folder / "labels.npy", labels)
    memory, began = 0, time.perf_counter()
    command = [sys.executable, "-c", SOLVE, str(folder / "features.npy")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            memory = max(memory, own_memory(process.pid))
            time.sleep(0.02)
        assert process.stdout is not None
        return time.perf_counter() - began, int(process.stdout.read()), memory


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
        starts = f"{first.first_step:.1f} s | {again.first_step:.1f} s"
        speeds = f"{again.training:,.0f} | {again.scoring:,.0f}"
        print(f"| {images:,} | {classes:,} | {starts} | {speeds} | {again.memory / 2**20:,.0f} MiB |", flush=True)
    print(f"\n| features of {WIDTH}, {CLASSES} classes | time | iterations | peak memory |\n|---:|---:|---:|---:|")
    for rows in ROWS:
        with tempfile.TemporaryDirectory() as temporary:
            seconds, iterations, memory = solve(Path(temporary), rows)
        print(f"| {rows:,} | {seconds:.0f} s | {iterations} | {memory / 2**20:,.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
