"""What a terminal shows of a run: what will be done, how far it is, how it ended."""

import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from nfft.config.recipe import matters
from nfft.runs.folder import NETWORK
from nfft.runs.records import FeatureMetrics, Metrics, Results, SolutionMetrics, StepMetrics, ValidationMetrics
from nfft.text import shorten
from nfft.training.tracking import Start

PLAIN_SECONDS = 10.0


class Console:
    """A tracker for people: a live line on a terminal, a plain line every ten seconds anywhere else.

    Args:
        stream: where progress goes; standard error when absent. What a run is and has reached goes to standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.bar: tqdm | None = None

    def start(self, start: Start) -> None:
        announce(start)
        self.total_steps, self.first_step = start.total_steps, start.first_step
        self.shown_step, self.shown_at = start.first_step, time.perf_counter()

    def log(self, metrics: Metrics) -> None:
        if isinstance(metrics, StepMetrics):
            self._step(metrics)
        elif isinstance(metrics, ValidationMetrics):
            self._validation(metrics)
        elif isinstance(metrics, FeatureMetrics):
            self._remove_bar()
            self._print(f"features of {metrics.name}: {metrics.images:,} images, {metrics.seconds:.1f} s")
        else:
            self._solution(metrics)

    def progress(self, what: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if self.stream.isatty():
            self._move_bar(f"{what} ", done, total, start=done)
        elif now - self.shown_at >= PLAIN_SECONDS:
            self.shown_at = now
            self._print(f"{what}: {done:,} of {total:,} images")

    def finish(self, folder: Path, results: Results) -> None:
        self.close()
        farewell(folder, results)

    def tell(self, lines: Sequence[str]) -> None:
        print("\n".join(lines))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _step(self, metrics: StepMetrics) -> None:
        loss = float("nan") if metrics.loss is None else metrics.loss
        top1, clipped = metrics.top1 or 0.0, metrics.clipped or 0.0
        shown = (
            f"loss {loss:.3f} · top-1 {top1:.1%} · lr {metrics.lr:.2g} · clipped {clipped:.1%} · "
            f"{metrics.images_per_second:,.0f} img/s"
        )
        step, now = metrics.step, time.perf_counter()
        if self.stream.isatty():
            self._move_bar("step ", step, self.total_steps, start=self.first_step, shown=shown)
        elif now - self.shown_at >= PLAIN_SECONDS or step == self.total_steps:
            left = (self.total_steps - step) * (now - self.shown_at) / (step - self.shown_step)
            self.shown_step, self.shown_at = step, now
            self._print(f"step {step}/{self.total_steps} · {shown} · {_clock(left)} left")

    def _validation(self, metrics: ValidationMetrics) -> None:
        text = f"step {metrics.step}: validation top-1 {metrics.weights} {metrics.top1:.1%}"
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        else:
            self._print(text)

    def _solution(self, metrics: SolutionMetrics) -> None:
        scores = f"validation top-1 {metrics.top1:.1%}, loss {metrics.loss:.3f} · train loss {metrics.train_loss:.3f}"
        rest = "" if metrics.settled is None else ", not at rest"
        seen = "" if metrics.stages is None else f"{len(metrics.stages)} stages · "
        self._print(f"l2 {metrics.l2:<8g} {seen}{scores} · {metrics.iterations} iterations{rest}")

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def _move_bar(self, name: str, done: int, total: int, *, start: int = 0, shown: str = "") -> None:
        if self.bar is None:
            form = "{percentage:3.0f}% |{bar:20}| NAME{n_fmt}/{total_fmt}{postfix} · {elapsed}<{remaining}"
            form = form.replace("NAME", name)
            self.bar = tqdm(total=total, initial=start, bar_format=form, file=self.stream, dynamic_ncols=True)
        if shown:
            self.bar.set_postfix_str(shown, refresh=False)
        self.bar.update(done - self.bar.n)

    def _remove_bar(self) -> None:
        if self.bar is not None:
            self.bar.leave = False
            self.close()


def announce(start: Start) -> None:
    """Say what will run, before it does."""
    record = start.record
    data, model, machine, method = record.data, record.model, record.hardware, record.method
    images = {"train": data.train, "validation": data.validation, "test": data.test}
    counts = ", ".join(f"{count:,} {name}" for name, count in images.items() if count)
    print(f"task    {record.task.name}: {counts} images, {len(data.classes)} classes")
    if (more := data.unlabelled) is not None:
        each = f"{more.images / data.train:.3g} for each that has one"
        print(f"        and {more.images:,} without labels from {shorten(more.folder, 60)}, {each}")
    head = ""
    if start.replaced_classes is not None:
        head = f"; new classifier in place of that for {start.replaced_classes:,} classes"
    print(f"model   {model.name}: {model.architecture}, {model.parameters / 1e6:.2f} M parameters{head}")
    if record.teacher is not None:
        print(f"teacher {record.teacher.name}, weights {str(record.teacher.fingerprint)[:12]}")
    if method.name != "full" or any(value is not None for value in method.settings.values()):
        settings = " ".join(f"{name}={_shown(value)}" for name, value in method.settings.items() if value is not None)
        share = f"{model.trained / model.parameters:.1%}"
        print(f"method  {method.name}: trains {model.trained:,} parameters ({share}) {settings}".rstrip())
    if start.has_batch_norm:
        print("        it has batch normalisation: recipes are tuned for normalizer-free networks")
    settled = record.recipe.settings
    shown = [f"{name}={_shown(settled[name])}" for name in settled if matters(settled, name)]
    recipe = " ".join([f"{record.recipe.name}:", *shown])
    print(textwrap.fill(recipe, 100, initial_indent="recipe  ", subsequent_indent=" " * 8))
    processes = f", {record.processes} processes" if record.processes > 1 else ""
    print(f"device  {machine.name}, {record.precision}{processes}, {record.threads} threads, seed {record.seed}")
    print(f"folder  {start.folder}")
    if data.skipped:
        print(f"        {data.skipped} images cannot be read and are left out: see skipped.jsonl")
    for line in start.notes:
        print(f"        {line}")
    if start.reached:
        print(f"        resumed after {start.reached}")
    sys.stdout.flush()


def farewell(folder: Path, results: Results) -> None:
    """Say how good the network is and where everything lies."""
    if len(results.candidates) > 1:
        compared = " against ".join(f"{name} {scores.top1:.2%}" for name, scores in results.candidates.items())
        print(f"\nkept the {results.weights} weights: validation top-1 {compared}")
    training, start = results.training, results.head_start
    if start is not None:
        print(f"began with the classifier for l2 {start.l2:g}: validation top-1 {start.validation.top1:.2%}")
    if training.l2 is not None:
        print(f"\nkept the classifier for l2 {training.l2:g}, of the lowest loss on validation")
    for scores in (results.validation, results.test):
        if scores is not None:
            print(f"{scores.split:10}  {scores.in_words}")
    if (last := results.stages) is not None and last.stages:
        name, other = ("test", last.test) if last.test is not None else ("validation", last.validation)
        print("            nfft answers so, by a classifier that sees every stage; timm and transformers have the last")
        print(f"            layer's, in model.safetensors: {name} top-1 {other.top1:.2%}")
    if results.test is None:
        print("            the task has no test split; validation chose the weights, so its score flatters a little")
    print(f"training    {training.seconds:.0f} s, {training.images_per_second:,.0f} img/s")
    network = ", ".join(name for name in NETWORK if (folder / name).is_file())
    print(f"written to  {folder}/: {network}, README.md, results.json, curves.png, confusion.png")


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
