"""What a run says while it goes: metrics.jsonl, and a progress line for people."""

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO


class Metrics:
    """metrics.jsonl: one line a step and one an evaluation, in order; see docs/run-folder.md.

    Args:
        path: the file.
        from_step: lines of later steps are dropped, since a resumed run makes them again.
    """

    def __init__(self, path: Path, *, from_step: int = 0) -> None:
        self.lines = [line for line in read_metrics(path) if line["step"] <= from_step] if from_step else []
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
        temporary.replace(path)
        self.file = path.open("a")

    def add(self, **line: Any) -> None:
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


class Progress:
    """A live line on a terminal, a plain line every few seconds elsewhere.

    Args:
        total_steps: of the whole run.
        first_step: where this process starts.
        every: seconds between plain lines.
    """

    def __init__(self, total_steps: int, first_step: int, *, stream: TextIO = sys.stderr, every: float = 10.0) -> None:
        from tqdm import tqdm

        self.stream, self.every, self.last = stream, every, time.perf_counter()
        self.total_steps = total_steps
        self.bar = None
        if stream.isatty():
            form = "{percentage:3.0f}% |{bar:20}| step {n_fmt}/{total_fmt}{postfix} · {elapsed}<{remaining}"
            self.bar = tqdm(total=total_steps, initial=first_step, bar_format=form, file=stream, dynamic_ncols=True)

    def step(self, step: int, *, loss: float, top1: float, lr: float, clipped: float, speed: float) -> None:
        """Show what the `step`-th step (from 1) did; `speed` is in images a second, over all processes."""
        figures = f"loss {loss:.3f} · top-1 {top1:.1%} · lr {lr:.2g} · clipped {clipped:.1%} · {speed:,.0f} img/s"
        now = time.perf_counter()
        if self.bar is not None:
            self.bar.set_postfix_str(figures, refresh=False)
            self.bar.update(step - self.bar.n)
        elif now - self.last >= self.every or step == self.total_steps:
            batch_seconds = (now - self.last) / max(1, step - getattr(self, "shown", 0))
            left = (self.total_steps - step) * batch_seconds
            self.last, self.shown = now, step
            print(f"step {step}/{self.total_steps} · {figures} · {_clock(left)} left", file=self.stream, flush=True)

    def say(self, text: str) -> None:
        """Print a line without breaking the live one."""
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
