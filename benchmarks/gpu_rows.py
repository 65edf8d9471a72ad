"""Rows of gpu.py's table: printed and written as they come."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from nfft.files import write_text

SHARE_TARGET = 0.03  # of a step, for AGC, SGD and the average


@dataclass(frozen=True)
class Card:
    """What is measured on: its rate of bf16 matrix products in TFLOP/s, measured here and by its data sheet."""

    device: torch.device
    matmul: float
    nominal: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one thing; None where it does not apply.

    Attributes:
        what: the kind of row.
        by: whose it is: "nfft", "timm", and how.
        images, side: of the batch; px.
        ms, low, high: median and quartiles.
        ratio, ratio_low, ratio_high: quotient of two medians, and quartiles of the rounds' quotients.
        target: for the ratio.
        after, after_share: ms of a step from the gradients to its end, and its share.
        computing: ms of a step in which the GPU computes; the rest it waits for its orders.
        tflops, of_matmul, of_nominal: of the model, a second; shares of the card's.
        memory: GiB at the peak.
        first: seconds until the first step was done, compilation included.
    """

    what: str
    network: str = ""
    by: str = ""
    images: int | None = None
    side: int | None = None
    ms: float | None = None
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    target: float | None = None
    after: float | None = None
    after_share: float | None = None
    computing: float | None = None
    images_per_second: float | None = None
    tflops: float | None = None
    of_matmul: float | None = None
    of_nominal: float | None = None
    memory: float | None = None
    first: float | None = None
    note: str = ""


def number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def median(row: Row) -> str:
    if row.ms is None or row.low is None:
        return number(row.ms, 2)
    return f"{row.ms:.2f} ({row.low:.2f} to {row.high:.2f})"


def ratio(row: Row) -> str:
    if row.ratio is None:
        return "–"
    quartiles = f" ({row.ratio_low:.2f} to {row.ratio_high:.2f})" if row.ratio_low is not None else ""
    return f"{row.ratio:.2f}{quartiles}" + (f", target {row.target:g}" if row.target is not None else "")


def after_share(row: Row) -> str:
    aimed = row.after_share is not None and row.by.startswith("nfft")
    return share(row.after_share) + (f", target {SHARE_TARGET:.0%}" if aimed else "")


COLUMNS: dict[str, Callable[[Row], str]] = {
    "what": lambda row: row.what,
    "network": lambda row: row.network,
    "by": lambda row: row.by,
    "images": lambda row: number(row.images, 0),
    "px": lambda row: number(row.side, 0),
    "ms": median,
    "ratio": ratio,
    "after the gradient, ms": lambda row: number(row.after, 2),
    "of the step": after_share,
    "GPU computes, ms": lambda row: number(row.computing, 2),
    "images/s": lambda row: number(row.images_per_second, 0),
    "TFLOP/s": lambda row: number(row.tflops),
    "of matmul": lambda row: share(row.of_matmul),
    "of nominal": lambda row: share(row.of_nominal),
    "peak, GiB": lambda row: number(row.memory),
    "first step, s": lambda row: number(row.first),
    "note": lambda row: " ".join(row.note.split()).replace("|", "/"),
}
HEAD = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"


class Report:
    """results.jsonl and table.md in `folder`, and the same on the screen.

    Args:
        about: when, where and with what, for the first line.
    """

    def __init__(self, folder: Path, about: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.lines, self.rows = folder, [about, "", HEAD], []
        print("\n".join(self.lines), flush=True)

    def add(self, row: Row) -> None:
        line = f"| {' | '.join(cell(row) for cell in COLUMNS.values())} |"
        print(line, flush=True)
        self.lines.append(line)
        self.rows.append(json.dumps({name: value for name, value in asdict(row).items() if value not in (None, "")}))
        write_text(self.folder / "table.md", "\n".join(self.lines) + "\n")
        write_text(self.folder / "results.jsonl", "\n".join(self.rows) + "\n")
