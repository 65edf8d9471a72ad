"""A job for nfft and a peer: small images of CIFAR-10, nf_resnet26, two epochs; how a command is timed, and a table."""

import datetime
import json
import platform
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import psutil
from datasets import load_dataset

TRAIN, TEST, SIDE, BATCH, EPOCHS = 2000, 1000, 64, 64, 2
MODEL = "nf_resnet26"


@dataclass
class Timed:
    """What a run took, in seconds and bytes, and how well it did.

    Attributes:
        ticks: when each training step was reported, since the start, and whether it begins an epoch.
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


def start_of(folder: Path) -> None:
    """A checkpoint with random weights and a classifier for seven classes."""
    from nfft.models.build import build_network
    from nfft.models.checkpoint import random_checkpoint
    from nfft.models.saving import save_network
    from nfft.models.transforms import squash_preprocessing

    source, classes = random_checkpoint(MODEL, {}), [str(label) for label in range(7)]
    folder.mkdir()
    network = build_network(source, classes, dropout=0, stochastic_depth=0)
    save_network(
        network, folder, checkpoint=source, classes=classes, preprocessing=squash_preprocessing(source, SIDE, 0)
    )  # fmt: skip


def timed(
    command: Sequence[str],
    steps_in: Callable[[str], list[bool]],
    log: Path,
    *,
    folder: Path | None = None,
    environment: dict[str, str] | None = None,
    watches_memory: bool = True,
) -> Timed:
    """Run a command and time it.

    Args:
        steps_in: of the text of a report, a value for each training step: whether it begins an epoch.
        log: the file of that report.
        folder: to run it in.
        watches_memory: as well, which slows a process with a large heap.
    """
    found, began = Timed(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=subprocess.STDOUT, text=True, cwd=folder, env=environment
        )  # fmt: skip
        watch = threading.Thread(target=_watch_memory, args=(process.pid, found))
        if watches_memory:
            watch.start()
        while process.poll() is None:
            _note(found, steps_in(text_of(log)), began)
            time.sleep(0.01)
        found.wall = time.perf_counter() - began
        _note(found, steps_in(text_of(log)), began)
        if watches_memory:
            watch.join()
        said.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{(said.read() or text_of(log))[-3000:]}")
    return found


def into(log: Path, command: Sequence[str]) -> list[str]:
    """`command` with what it prints in `log`."""
    return ["sh", "-c", 'exec "$@" > "$0" 2>&1', str(log), *command]


def text_of(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


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


def by_nfft(data: Path, work: Path, *, precision: str = "auto", start: Path | None = None) -> Timed:
    """Train every weight from scratch; or, of a checkpoint to `start` from, the classifier by `--method probe`."""
    folder = work / "nfft"
    shutil.rmtree(folder, ignore_errors=True)
    command = [
        "nfft", "finetune", "--task", str(data), "--model", str(start or f"scratch:{MODEL}"),
        "--precision", precision, "--output-dir", str(folder),
        "--set", f"test_resolution={SIDE}", "--set", "test_margin=0",
    ]  # fmt: skip
    if start is not None:
        command += ["--method", "probe"]
    else:
        command += ["--epochs", str(EPOCHS), "--batch-size", str(BATCH), "--lr", "0.1", "--set", "warmup_fraction=0"]
        command += ["--set", f"train_resolution={SIDE}", "--set", f"evaluations={EPOCHS}", "--set", "crop_area=0.08"]
        command += ["--set", "ema_decay=0.999"]
    epoch = TRAIN // BATCH

    def steps_in(text: str) -> list[bool]:
        return [number % epoch == 0 for number in range(text.count('"kind": "train"'))]

    found = timed(command, steps_in, folder / "metrics.jsonl")
    found.top1 = json.loads((folder / "results.json").read_text())["validation"]["top1"]
    return found


def precision_of(work: Path) -> str:
    """That nfft took in its last run."""
    return json.loads((work / "nfft" / "run.json").read_text())["precision"]


def heading(peer: str, rounds: int, **versions: str) -> str:
    """What was measured on what, and the head of the table."""
    every = {"Python": platform.python_version(), "torch": metadata.version("torch"), **versions}
    listed = ", ".join(f"{name} {version}" for name, version in every.items())
    return (
        f"{datetime.date.today()}; {psutil.cpu_count()} cores; {listed}; {rounds} rounds\n"
        f"{TRAIN:,} training and {TEST:,} test images at {SIDE} px, {MODEL}, batch {BATCH}\n\n"
        f"| | nfft | {peer} | ratio | in rounds |\n|---|---:|---:|---:|---:|"
    )


def rows(label: str, ours: Sequence[Timed], theirs: Sequence[Timed]) -> list[str]:
    """Medians over rounds of what both report, and of the ratios within each round."""
    columns = [
        ("whole run", "wall", "s", 1.0),
        ("a step", "step", "s", 1.0),
        ("evaluation", "evaluation", "s", 1.0),
        ("first step", "first_step", "s", 1.0),
        ("peak memory", "memory", "GiB", 2**-30),
    ]
    lines = []
    for name, attribute, unit, scale in columns:
        values = [[getattr(each, attribute) for each in side] for side in (ours, theirs)]
        if None not in values[0] + values[1]:
            scaled = [[scale * value for value in side] for side in values]
            lines.append(row(f"{label}: {name}", *scaled, unit))
    top1 = [" ".join(f"{each.top1:.1%}" for each in side) for side in (ours, theirs)]
    return [*lines, f"| {label}: top-1 of each round | {top1[0]} | {top1[1]} | – | – |"]


def row(name: str, nfft: Sequence[float], peer: Sequence[float], unit: str) -> str:
    ratios = [ours / theirs for ours, theirs in zip(nfft, peer, strict=True)]
    ours, theirs = (f"{statistics.median(each):.2f} {unit}" for each in (nfft, peer))
    return f"| {name} | {ours} | {theirs} | {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
