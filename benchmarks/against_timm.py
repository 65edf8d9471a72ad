"""The same job by nfft and by timm's train.py, in turn: whole run, steps, evaluation, first step, probe, memory.

    python benchmarks/against_timm.py path/to/pytorch-image-models/train.py path/to/cifar10 --rounds 3

`cifar10` is a folder of Parquet files with the columns image and label; 2,000 training and 1,000 test images are used,
at 64 px. train.py is run as it is, with the same network, epochs, batch, AGC and average of weights. Both score
raw and averaged weights after each epoch. Prints medians over rounds, and of the ratios within each round.

A probe trains the classifier alone. train.py has no option for that: its network is frozen before it starts, and it
takes five epochs over the images, as people do; nfft looks at each image once.
"""

import argparse
import datetime
import json
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import psutil
from datasets import load_dataset

TRAIN, TEST, SIDE, BATCH, EPOCHS, PROBE_EPOCHS = 2000, 1000, 64, 64, 2, 5
MODEL = "nf_resnet26"
LABELS = {"default": "each at its default precision", "bf16": "both in bf16", "probe": "probe, each at its default"}
# The network is frozen where train.py makes it; the rest of train.py is as it is.
FROZEN = """
import runpy, sys, timm, timm.models
made = timm.models.create_model
def frozen(*arguments, **settings):
    model = made(*arguments, **settings)
    model.requires_grad_(False)
    model.get_classifier().requires_grad_(True)
    return model
timm.create_model = timm.models.create_model = frozen
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass
class Timed:
    """What a run took, in seconds and bytes, and how well it did.

    Attributes:
        ticks: when each training step was reported, since the start.
    """

    wall: float = 0.0
    ticks: list[tuple[float, bool]] = field(default_factory=list)
    memory: int = 0
    top1: float | None = None

    @property
    def first_step(self) -> float | None:
        return self.ticks[0][0] if self.ticks else None

    @property
    def step(self) -> float | None:
        """Median time from one step's report to the next, within an epoch."""
        gaps = [
            now - before for (before, _), (now, begins) in zip(self.ticks, self.ticks[1:], strict=False) if not begins
        ]
        return statistics.median(gaps) if gaps else None

    @property
    def evaluation(self) -> float | None:
        """Time between epochs and after the last one: scoring, saving, and what else there is."""
        if not self.ticks or self.step is None:
            return None
        pairs = zip(self.ticks, self.ticks[1:], strict=False)
        between = sum(now - before - self.step for (before, _), (now, begins) in pairs if begins)
        return between + self.wall - self.ticks[-1][0]


def images(source: Path, folder: Path) -> None:
    """Write a folder of images for each class, with a split for training and one to score."""
    for split, count, name in (("train", TRAIN, "train"), ("test", TEST, "validation")):
        rows = load_dataset(str(source), split=split).shuffle(seed=0).select(range(count))
        names = rows.features["label"].names
        for number, row in enumerate(rows):
            place = folder / name / names[row["label"]]
            place.mkdir(parents=True, exist_ok=True)
            row["image"].convert("RGB").resize((SIDE, SIDE)).save(place / f"{number}.jpg", quality=95)


def timed(command: Sequence[str], steps_in: Callable[[str], list[bool]], read: Callable[[], str]) -> Timed:
    """Run a command and time it.

    Args:
        steps_in: of the text of a report, a value for each training step: whether it begins an epoch.
        read: the report so far.
    """
    found, began = Timed(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, text=True)
        watch = threading.Thread(target=_watch_memory, args=(process.pid, found))
        watch.start()
        while process.poll() is None:
            _note(found, steps_in(read()), began)
            time.sleep(0.01)
        found.wall = time.perf_counter() - began
        _note(found, steps_in(read()), began)
        watch.join()
        said.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read()[-3000:]}")
    return found


def _note(found: Timed, steps: list[bool], began: float) -> None:
    now = time.perf_counter() - began
    found.ticks += [(now, begins) for begins in steps[len(found.ticks) :]]


def _watch_memory(pid: int, found: Timed) -> None:
    """Keep the largest sum, over the process and its children, of memory that is theirs (shared pages in parts)."""
    while psutil.pid_exists(pid):
        try:
            process = psutil.Process(pid)
            every = [process, *process.children(recursive=True)]
            found.memory = max(found.memory, sum(each.memory_full_info().pss for each in every))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            pass
        time.sleep(0.25)


def by_timm(script: Path, data: Path, work: Path, *, bf16: bool, probe: bool) -> Timed:
    epochs = PROBE_EPOCHS if probe else EPOCHS
    log = work / "timm" / "summary.log"
    shutil.rmtree(work / "timm", ignore_errors=True)
    log.parent.mkdir(parents=True)
    start = [sys.executable, "-c", FROZEN, str(script)] if probe else [sys.executable, str(script)]
    command = [
        *start, "--data-dir", str(data), "--model", MODEL, "--num-classes", "10", "--img-size", str(SIDE),
        "-b", str(BATCH), "--epochs", str(epochs), "--warmup-epochs", "0", "--sched", "cosine",
        "--opt", "sgd", "--lr", "0.1", "--momentum", "0.9", "--weight-decay", "1e-5",
        "--clip-grad", "0.08", "--clip-mode", "agc", "--model-ema", "--model-ema-decay", "0.999",
        "--workers", "2", "--device", "cpu", "--log-interval", "1", "--color-jitter", "0", "--crop-pct", "1.0",
        "--output", str(log.parent), "--experiment", "run", *(["--amp", "--amp-dtype", "bfloat16"] if bf16 else []),
    ]  # fmt: skip
    shell = ["sh", "-c", 'exec "$@" > "$0" 2>&1', str(log), *command]
    pattern = re.compile(r"^Train: \d+ \[ *(\d+)/", re.MULTILINE)
    found = timed(shell, lambda text: [each == "0" for each in pattern.findall(text)], lambda: _text(log))
    rows = (log.parent / "run" / "summary.csv").read_text().splitlines()
    names, last = rows[0].split(","), rows[-1].split(",")
    found.top1 = float(dict(zip(names, last, strict=True))["eval_top1"]) / 100
    return found


def by_nfft(data: Path, work: Path, *, precision: str, probe: bool) -> Timed:
    folder = work / "nfft"
    shutil.rmtree(folder, ignore_errors=True)
    command = [
        "nfft", "finetune", "--task", str(data), "--model", str(work / "start") if probe else f"scratch:{MODEL}",
        "--precision", precision, "--output-dir", str(folder),
        "--set", f"test_resolution={SIDE}", "--set", "test_margin=0",
    ]  # fmt: skip
    if probe:
        command += ["--method", "probe"]
    else:
        command += ["--epochs", str(EPOCHS), "--batch-size", str(BATCH), "--lr", "0.1", "--set", "warmup_fraction=0"]
        command += ["--set", f"train_resolution={SIDE}", "--set", f"evaluations={EPOCHS}", "--set", "crop_area=0.08"]
        command += ["--set", "ema_decay=0.999"]
    log, epoch = folder / "metrics.jsonl", TRAIN // BATCH

    def steps_in(text: str) -> list[bool]:
        return [number % epoch == 0 for number in range(text.count('"kind": "train"'))]

    found = timed(command, steps_in, lambda: _text(log))
    found.top1 = json.loads((folder / "results.json").read_text())["validation"]["top1"]
    return found


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def help_seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run([*command, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def start_of(work: Path, data: Path) -> None:
    """A checkpoint with random weights for the probe, whose cost does not depend on them."""
    from nfft import layout, model

    source = layout.random_weights(MODEL, {})
    (work / "start").mkdir()
    network = model.build(source, [str(label) for label in range(7)], dropout=0, stochastic_depth=0)
    facts = {"checkpoint": source, "classes": [str(label) for label in range(7)]}
    layout.save(network, work / "start", **facts, preprocessing=layout.squashed(source, SIDE, 0))


def row(name: str, nfft: Sequence[float], timm: Sequence[float], unit: str) -> str:
    ratios = [ours / theirs for ours, theirs in zip(nfft, timm, strict=True)]
    ours, theirs = (f"{statistics.median(each):.2f} {unit}" for each in (nfft, timm))
    return f"| {name} | {ours} | {theirs} | {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="timm's train.py")
    parser.add_argument("data", type=Path, help="a folder of Parquet files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="default,bf16,probe", help="which comparisons (default: %(default)s)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        images(given.data, work / "data")
        start_of(work, work / "data")
        versions = (
            f"Python {platform.python_version()}, torch {metadata.version('torch')}, timm {metadata.version('timm')}"
        )
        print(f"{datetime.date.today()}; {psutil.cpu_count()} cores; {versions}; {given.rounds} rounds")
        print(f"{TRAIN:,} training and {TEST:,} test images at {SIDE} px, {MODEL}, batch {BATCH}\n")
        print("| | nfft | timm's train.py | ratio | in rounds |\n|---|---:|---:|---:|---:|")
        for kind in given.only.split(","):
            compare(kind, given.train, work, given.rounds)
        commands = ["nfft", "finetune"], [sys.executable, str(given.train)]
        helps = [[help_seconds(command) for _ in range(given.rounds)] for command in commands]
        print(row("`--help`", *helps, "s"))


def compare(kind: str, train: Path, work: Path, rounds: int) -> None:
    probe, bf16 = kind == "probe", kind == "bf16"
    ours, theirs = [], []
    for _ in range(rounds):
        # nfft's own choice is bf16 where the machine is fast at it, else float32; timm's is float32.
        ours.append(by_nfft(work / "data", work, precision="bf16" if bf16 else "auto", probe=probe))
        theirs.append(by_timm(train, work / "data", work, bf16=bf16, probe=probe))
    chosen = json.loads((work / "nfft" / "run.json").read_text())["precision"]
    label = LABELS[kind] if bf16 else f"{LABELS[kind]} ({chosen}, fp32)"
    columns = [("whole run", "wall", "s", 1.0), ("peak memory", "memory", "GiB", 2**-30)]
    if not probe:
        columns[1:1] = [
            ("a step", "step", "s", 1.0),
            ("evaluation", "evaluation", "s", 1.0),
            ("first step", "first_step", "s", 1.0),
        ]
    for name, attribute, unit, scale in columns:
        values = [[scale * getattr(each, attribute) for each in side] for side in (ours, theirs)]
        print(row(f"{label}: {name}", *values, unit), flush=True)
    top1 = [" ".join(f"{each.top1:.1%}" for each in side) for side in (ours, theirs)]
    print(f"| {label}: top-1 of each round | {top1[0]} | {top1[1]} | – | – |", flush=True)


if __name__ == "__main__":
    main()
