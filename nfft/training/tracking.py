"""What a run says while it goes: metrics.jsonl, and a progress line for people."""

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from nfft.files import write_text
from nfft.runs.folder import METRICS

PLAIN_SECONDS = 10.0


class Report:
    """Records every step and evaluation, and shows them: the main process's part of the loop.

    A terminal gets a live line, anything else a plain line every ten seconds.

    Args:
        folder: the run folder; lines of its metrics.jsonl after `first_step` are dropped, since a resumed
            run makes them again.
        total_steps: of the whole run.
        first_step: how many of them are done.
        speaks: whether this is the main process; the others record and show nothing.
    """

    def __init__(
        self, folder: Path, total_steps: int, first_step: int, *, speaks: bool, stream: TextIO | None = None
    ) -> None:
        self.path, self.total_steps, self.first_step = folder / METRICS, total_steps, first_step
        self.speaks, self.stream = speaks, stream or sys.stderr
        self.lines: list[dict] = []
        self.bar: Any = None

    def __enter__(self) -> "Report":
        if not self.speaks:
            return self
        if self.first_step:
            self.lines = [line for line in read_metrics(self.path) if line["step"] <= self.first_step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))
        self.file = self.path.open("a")
        self.shown_step, self.shown_at = self.first_step, time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        if self.speaks:
            self.file.close()
        if self.bar is not None:
            self.bar.close()

    def step(self, step: int, *, loss: float, top1: float, lr: float, clipped: float, images_per_second: float) -> None:
        """Note what the `step`-th step (from 1) did; the speed is that of all processes together."""
        if not self.speaks:
            return
        figures = {"loss": loss, "top1": top1, "lr": lr, "clipped": clipped}
        # JSON has no NaN: a step that fp16 skipped clipped nothing.
        figures["clipped"] = clipped = clipped if math.isfinite(clipped) else 0.0
        recorded = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        self._record(kind="train", step=step, **recorded, images_per_second=images_per_second)
        shown = (
            f"loss {loss:.3f} · top-1 {top1:.1%} · lr {lr:.2g} · clipped {clipped:.1%} · {images_per_second:,.0f} img/s"
        )
        now = time.perf_counter()
        if self.stream.isatty():
            self._move_bar("step ", step, self.total_steps, start=self.first_step, shown=shown)
        elif now - self.shown_at >= PLAIN_SECONDS or step == self.total_steps:
            left = (self.total_steps - step) * (now - self.shown_at) / (step - self.shown_step)
            self.shown_step, self.shown_at = step, now
            print(f"step {step}/{self.total_steps} · {shown} · {_clock(left)} left", file=self.stream, flush=True)

    def validation(self, step: int, found: Mapping[str, tuple[float, float]]) -> None:
        """Note an evaluation after `step` steps: (loss, top-1) by the name of the weights."""
        if not self.speaks:
            return
        for weights, (loss, top1) in found.items():
            self._record(kind="validation", step=step, weights=weights, loss=loss, top1=top1)
        text = f"step {step}: validation top-1 " + ", ".join(f"{name} {top1:.1%}" for name, (_, top1) in found.items())
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def extracting(self, name: str, done: int, images: int) -> None:
        """Show that features of `done` images of a split of `images` are there."""
        if not self.speaks:
            return
        now = time.perf_counter()
        if self.stream.isatty():
            self._move_bar(f"features of {name} ", done, images, start=done)
        elif now - self.shown_at >= PLAIN_SECONDS:
            self.shown_at = now
            print(f"features of {name}: {done:,} of {images:,} images", file=self.stream, flush=True)

    def extracted(self, name: str, images: int, seconds: float) -> None:
        """Note that features of all images of a split are there, and the time it took to compute them."""
        if not self.speaks:
            return
        self._remove_bar()
        self._record(kind="features", name=name, images=images, seconds=seconds)
        print(f"features of {name}: {images:,} images, {seconds:.1f} s", file=self.stream, flush=True)

    def solved(self, l2: float, *, iterations: int, settled: bool, train_loss: float, loss: float, top1: float) -> None:
        """Note the classifier for one penalty: its losses on train and validation, and its top-1 on validation."""
        if not self.speaks:
            return
        figures = {"train_loss": train_loss, "loss": loss, "top1": top1}
        self._record(kind="solution", l2=l2, iterations=iterations, **figures)
        shown = f"l2 {l2:<8g} validation top-1 {top1:.1%}, loss {loss:.3f} · train loss {train_loss:.3f}"
        rest = "" if settled else ", not at rest"
        print(f"{shown} · {iterations} iterations{rest}", file=self.stream, flush=True)

    def _move_bar(self, name: str, done: int, total: int, *, start: int = 0, shown: str = "") -> None:
        from tqdm import tqdm

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
            self.bar.close()
            self.bar = None

    def _record(self, **line: Any) -> None:
        self.lines.append(line)
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics.jsonl; a last one torn by a kill is left out."""
    lines = []
    for text in path.read_text().splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            break
    return lines


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
