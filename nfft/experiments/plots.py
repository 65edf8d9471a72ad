"""Pictures of what is compared: methods side by side, the table of a study."""

import textwrap
from collections.abc import Sequence
from statistics import mean, median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from nfft.config.study import Study
from nfft.experiments.records import ComparisonRow, LearningCurve, StudyLine, failed
from nfft.experiments.results import failures, shown_columns, top1
from nfft.intervals import interval
from nfft.reporting.plots.figure import set_title, strip
from nfft.text import shorten

COLORS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
MARKERS = "osD^vPX"
FAILED, WANTED = "x", "#555555"
# Where a legend hides nothing.
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False, "fontsize": 10}


def plot_comparison(rows: Sequence[ComparisonRow], title: str) -> Figure:
    """Accuracy against training time: a mark a method, with the interval over its seeds.

    Args:
        rows: one a method.
        title: shown above.
    """
    figure, axes = _top1_on_log_axis(title, rows[0].split, "time of a run, evaluation included (s)")
    for number, row in enumerate(rows):
        _draw_method(axes, row, COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)])
    axes.margins(x=0.1, y=0.1)
    axes.legend(**BESIDE, labelspacing=0.9)
    return figure


def _draw_method(axes: Axes, row: ComparisonRow, color: str, marker: str) -> None:
    """The mean at the median time, with its interval; and each seed, fainter."""
    time, top1 = median(row.wall_seconds), 100 * mean(row.top1)
    axes.plot(row.wall_seconds, [100 * share for share in row.top1], marker, color=color, alpha=0.3, markersize=4)
    if row.low is not None and row.high is not None:
        axes.vlines(time, 100 * max(0, row.low), 100 * min(1, row.high), color=color, linewidth=1.4)
    label = f"{row.method}\n{top1:.1f} %, {time:.3g} s"
    axes.plot([time], [top1], marker, color=color, markersize=8, linestyle="none", label=label)


def plot_learning_curves(curves: Sequence[LearningCurve], rows: Sequence[ComparisonRow], title: str) -> Figure:
    """Accuracy against images a class, with intervals and seeds; the law of each method, and where it meets a wish.

    Args:
        curves: one a method.
        rows: one for each method and number of shots, as the curves.
        title: shown above.
    """
    figure, axes = _top1_on_log_axis(title, rows[0].split, "training images a class")
    wanted = next((curve.need.wanted for curve in curves if curve.need is not None), None)
    if wanted is not None:
        axes.axhline(100 * wanted, color=WANTED, linewidth=0.8, linestyle=":", label=f"wanted: {100 * wanted:g} %")
    for number, curve in enumerate(curves):
        style = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        # Beside each other, so that no interval hides another.
        aside = 1.2 ** ((number + 0.5) / len(curves) - 0.5)
        _draw_curve(axes, curve, [row for row in rows if row.method == curve.method], aside, *style)
    axes.margins(x=0.04, y=0.06)
    axes.legend(**BESIDE, labelspacing=0.9)
    return figure


def _draw_curve(
    axes: Axes, curve: LearningCurve, rows: Sequence[ComparisonRow], aside: float, color: str, marker: str
) -> None:
    """Means with intervals and seeds; the law, dashed where nothing was measured; a ring where a wish is met."""
    for row in rows:
        places = [aside * (row.shots or 0)] * len(row.top1)
        axes.plot(places, [100 * share for share in row.top1], marker, color=color, alpha=0.25, markersize=3.5)
    for shots, low, high in zip(curve.shots, curve.low, curve.high, strict=True):
        if low is not None and high is not None:
            axes.vlines(aside * shots, 100 * max(0, low), 100 * min(1, high), color=color, linewidth=1.4)
    style: dict[str, Any] = {"color": color, "markersize": 7, "linewidth": 1.4}
    style |= {"label": f"{curve.method}\n{100 * curve.top1[-1]:.1f} % with {curve.shots[-1]:,}"}
    style |= {"linestyle": "none" if curve.law is not None else "-"}
    axes.plot([aside * shots for shots in curve.shots], [100 * share for share in curve.top1], marker, **style)
    if curve.law is None:
        return
    law, need, last = curve.law, curve.need, curve.shots[-1]
    end = curve.limit if need is not None and need.outcome in ("estimated", "beyond") else last
    for first, stop, dashes in ((curve.shots[0], last, "-"), (last, end, "--")):
        along = [first * (stop / first) ** (part / 60) for part in range(61)]
        axes.plot(along, [100 * (1 - law.error(count)) for count in along], dashes, color=color, linewidth=1.4)
    if need is None or need.outcome != "estimated" or need.images is None:
        return
    if need.low is not None:
        axes.hlines(100 * need.wanted, need.low, need.high or curve.limit, color=color, linewidth=3, alpha=0.35)
    axes.plot([need.images], [100 * need.wanted], "o", color=color, markersize=9, markerfacecolor="white")


def _top1_on_log_axis(title: str, split: str, label: str) -> tuple[Figure, Axes]:
    """A figure of the top-1 of a split against what `label` says, with plain numbers on a logarithmic axis."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    set_title(figure, shorten(title, 70))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    axes.set_ylabel(f"{split} top-1 (%)")
    strip(axes)
    return figure, axes


def plot_study(study: Study, records: Sequence[StudyLine]) -> Figure:
    """A study's table: for each column the mean of each row, its interval, its seeds, and what failed.

    Args:
        records: of its runs.
    """
    columns = shown_columns(study, records)
    figure = Figure(figsize=(max(7, 2 + 1.1 * len(columns)), 5), layout="constrained")
    axes = figure.subplots()
    set_title(figure, textwrap.fill(study.title, 60))
    for number, row in enumerate(study.rows):
        aside = 0.5 * ((number + 0.5) / len(study.rows) - 0.5)
        _draw_row(axes, records, row, columns, aside, COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)])
    if failed(records):
        axes.plot([], [], FAILED, color="black", label="runs that failed")
    axes.set_xticks(range(len(columns)), [name.replace(", ", "\n") for name in columns], fontsize=9, parse_math=False)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylabel("top-1 (%)")
    strip(axes)
    axes.legend(**BESIDE)
    return figure


def _draw_row(
    axes: Axes, records: Sequence[StudyLine], row: str, columns: Sequence[str], aside: float, color: str, marker: str
) -> None:
    """A row of the table, `aside` of the middle of each column."""
    shares = [[100 * share for share in top1(records, row, column).values()] for column in columns]
    cells = {place + aside: values for place, values in enumerate(shares) if values}
    for place, values in cells.items():
        axes.plot([place] * len(values), values, marker, color=color, alpha=0.3, markersize=4)
        low, high = interval(values)
        if low is not None and high is not None:
            axes.vlines(place, max(0, low), min(100, high), color=color, linewidth=1.4)
    axes.plot([*cells], [mean(values) for values in cells.values()], marker, color=color, markersize=7, label=row)
    lost = [place + aside for place, column in enumerate(columns) if failures(records, row, column)]
    # On the floor of the picture, wherever that is.
    axes.plot(lost, [0.02] * len(lost), FAILED, color=color, markersize=7, transform=axes.get_xaxis_transform())
