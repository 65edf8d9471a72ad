"""Pictures of what is compared: a probe's penalties, methods side by side, the table of a study."""

import textwrap
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from nfft.experiments.results import failed, failures, shown_columns, top1
from nfft.intervals import interval
from nfft.reporting.plots import save_figure, strip
from nfft.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nfft.config.study import Study


COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
MARKERS = "osD^vPX"
FAILED = "x"


def plot_comparison(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Write a PNG of accuracy against training time: a mark a method, with the interval over its seeds.

    Args:
        rows: of each method its "method" (a name), "top1" and "wall_seconds" (of each seed), and "low" and "high", the
            ends of the interval of the mean top-1 (None for one seed).
        path: where to write; what is there is replaced at once.
        title: shown above.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    figure.suptitle(shorten(title, 70), fontsize=12, fontweight="bold", parse_math=False)
    for number, row in enumerate(rows):
        _draw_method(axes, row, COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)])
    axes.set_xscale("log")
    _plain_ticks(axes)
    axes.set_xlabel("time of a run, evaluation included (s)")
    axes.set_ylabel(f"{rows[0]['split']} top-1 (%)")
    strip(axes)
    axes.margins(x=0.1, y=0.1)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=10, labelspacing=0.9)
    save_figure(figure, path)


def _draw_method(axes: "Axes", row: dict[str, Any], colour: str, marker: str) -> None:
    """The mean at the median time, with its interval; and each seed, fainter."""
    time, top1 = median(row["wall_seconds"]), 100 * mean(row["top1"])
    axes.plot(row["wall_seconds"], [100 * each for each in row["top1"]], marker, color=colour, alpha=0.3, markersize=4)
    if row["low"] is not None:
        axes.vlines(time, 100 * max(0, row["low"]), 100 * min(1, row["high"]), color=colour, linewidth=1.4)
    label = f"{row['method']}\n{top1:.1f} %, {time:.3g} s"
    axes.plot([time], [top1], marker, color=colour, markersize=8, linestyle="none", label=label)


def _plain_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def plot_study(study: "Study", records: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG of a study's table: for each column the mean of each row, its interval, its seeds, and what failed.

    Args:
        records: of its runs (nfft.findings).
        path: where to write; what is there is replaced at once.
    """
    from matplotlib.figure import Figure

    columns = shown_columns(study, records)
    figure = Figure(figsize=(max(7, 2 + 1.1 * len(columns)), 5), layout="constrained")
    axes = figure.subplots()
    figure.suptitle(textwrap.fill(study.title, 60), fontsize=12, fontweight="bold", parse_math=False)
    for number, row in enumerate(study.rows):
        aside = 0.5 * ((number + 0.5) / len(study.rows) - 0.5)
        _draw_row(
            axes, study, records, row, columns, aside, COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        )
    if failed(records):
        axes.plot([], [], FAILED, color="black", label="runs that failed")
    axes.set_xticks(range(len(columns)), [name.replace(", ", "\n") for name in columns], fontsize=9, parse_math=False)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylabel("top-1 (%)")
    strip(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=10)
    save_figure(figure, path)


def _draw_row(
    axes: "Axes", study: "Study", records: list[dict[str, Any]], row: str, columns: list[str],
    aside: float, colour: str, marker: str,
) -> None:  # fmt: skip
    every = [[100 * each for each in top1(records, row, column).values()] for column in columns]
    found = {place + aside: values for place, values in enumerate(every) if values}
    for place, values in found.items():
        axes.plot([place] * len(values), values, marker, color=colour, alpha=0.3, markersize=4)
        low, high = interval(values)
        if low is not None and high is not None:
            axes.vlines(place, max(0, low), min(100, high), color=colour, linewidth=1.4)
    axes.plot([*found], [mean(values) for values in found.values()], marker, color=colour, markersize=7, label=row)
    lost = [place + aside for place, column in enumerate(columns) if failures(records, row, column)]
    # On the floor of the picture, wherever that is.
    axes.plot(lost, [0.02] * len(lost), FAILED, color=colour, markersize=7, transform=axes.get_xaxis_transform())
