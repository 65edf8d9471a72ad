"""What a run tells while it goes: to metrics.jsonl, and to whoever follows it."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tqdm.auto import tqdm

from nfft.files import write_text
from nfft.runs.folder import METRICS, read_metrics
from nfft.runs.records import Metrics, Results, RunRecord, StepMetrics, ValidationMetrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What there is to tell of a run before its first step.

    Attributes:
        record: run.json.
        folder: the run folder.
        total_steps, first_step: optimizer steps of the whole run, and those that are done.
        replaced_classes: how many classes the checkpoint's classifier told apart, where a new one is in its place.
        has_batch_norm: whether the network is none that recipes are tuned for.
        reached: how far an earlier process has come, for people.
        notes: lines about what is allowed and seldom meant.
    """

    record: RunRecord
    folder: Path
    total_steps: int
    first_step: int
    replaced_classes: int | None
    has_batch_norm: bool
    reached: str
    notes: Sequence[str]


class Tracker(Protocol):
    """Whoever follows a run; called from its main process."""

    def start(self, start: Start) -> None:
        """The run is about to take its first step, or to go on."""

    def log(self, metrics: Metrics) -> None:
        """A step was taken, or something else is known; in the order of metrics.jsonl."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Of `total` images, so many have gone through the network for `what`."""

    def finish(self, folder: Path, results: Results) -> None:
        """The run has ended, and its folder is whole."""

    def tell(self, lines: Sequence[str]) -> None:
        """What else there is to say of it, such as where it was put."""


class Everyone:
    """Several trackers as one; where there are none, nobody is told."""

    def __init__(self, trackers: Sequence[Tracker] = ()) -> None:
        self.trackers = trackers

    def start(self, start: Start) -> None:
        for tracker in self.trackers:
            tracker.start(start)

    def log(self, metrics: Metrics) -> None:
        for tracker in self.trackers:
            tracker.log(metrics)

    def progress(self, what: str, done: int, total: int) -> None:
        for tracker in self.trackers:
            tracker.progress(what, done, total)

    def finish(self, folder: Path, results: Results) -> None:
        for tracker in self.trackers:
            tracker.finish(folder, results)

    def tell(self, lines: Sequence[str]) -> None:
        for tracker in self.trackers:
            tracker.tell(lines)


class MetricsFile:
    """metrics.jsonl: a line a step and evaluation, on the disk at once.

    Lines after the first step of this process are dropped, since a run that is taken up again makes them anew.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / METRICS

    def start(self, start: Start) -> None:
        before = read_metrics(self.folder) if start.first_step else []
        kept = (metrics.to_json() for metrics in before if _step_of(metrics) <= start.first_step)
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def log(self, metrics: Metrics) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics.to_json()) + "\n")

    def progress(self, what: str, done: int, total: int) -> None:
        """No line: what is not done yet is no metric."""

    def finish(self, folder: Path, results: Results) -> None:
        """Nothing is left to write."""

    def tell(self, lines: Sequence[str]) -> None:
        """No metric."""


class ProgressBar:
    """A bar, on a terminal or in a notebook, with evaluations as lines of Python's logging."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        # A bar that TQDM_DISABLE turns off does not know it.
        self.what = ""

    def start(self, start: Start) -> None:
        for note in start.notes:
            logger.warning("%s", note)
        self.total_steps = start.total_steps

    def log(self, metrics: Metrics) -> None:
        if isinstance(metrics, StepMetrics):
            self._show("steps", metrics.step, self.total_steps)
            if self.bar is not None and metrics.loss is not None:
                self.bar.set_postfix(loss=f"{metrics.loss:.3f}", refresh=False)
        elif isinstance(metrics, ValidationMetrics):
            logger.info("step %d: validation top-1 of %s %.4f", metrics.step, metrics.weights, metrics.top1)

    def progress(self, what: str, done: int, total: int) -> None:
        self._show(what, done, total)

    def finish(self, folder: Path, results: Results) -> None:
        if self.bar is not None:
            self.bar.close()
        logger.info("%s top-1 %.4f, written to %s", results.quoted.split, results.quoted.top1, folder)

    def tell(self, lines: Sequence[str]) -> None:
        for line in lines:
            logger.info("%s", line)

    def _show(self, what: str, done: int, total: int) -> None:
        if self.bar is None or self.what != what:
            if self.bar is not None:
                self.bar.close()
            self.bar, self.what = tqdm(total=total, desc=what), what
        self.bar.update(done - self.bar.n)


def _step_of(line: Metrics) -> int:
    return line.step if isinstance(line, StepMetrics | ValidationMetrics) else 0
