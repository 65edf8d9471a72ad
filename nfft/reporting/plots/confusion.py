"""Which classes are taken for which."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from nfft.reporting.mistakes import most_confused
from nfft.reporting.plots.figure import FAINT, class_name, set_title
from nfft.runs.records import Scores
from nfft.text import one_line, shorten

DETAILED = 20  # classes up to which every cell is labeled
DRAWN = 1000  # classes up to which there is a matrix
TICKS = 25  # class names along an axis, beyond DETAILED
PAIRS = 10  # confused pairs listed, beyond DETAILED
MISTAKES = ("#F4A582", "#B2182B")
MILD = 20.0  # percent; the scale of mistakes goes at least this far, so that few mistakes do not look grave


def plot_confusion(scores: Scores, title: str) -> Figure:
    """The confusion matrix, each row as shares of its true class.

    Right answers are blue and mistakes red. Up to 20 classes every cell is labeled; beyond that the
    most-confused pairs are listed beside the matrix, and beyond 1,000 in its place.

    Args:
        scores: of one split.
        title: shown above the matrix.
    """
    names = [class_name(entry.name) for entry in scores.per_class]
    if len(names) > DRAWN:
        figure = Figure(figsize=(5, 5))
        set_title(figure, shorten(title, 60))
        _list_pairs(figure.add_axes((0, 0, 1, 0.92)), scores)
        return figure
    counts = np.zeros((len(names), len(names)))
    for true, predicted, count in scores.confusion:
        counts[true, predicted] = count
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, math.nan), where=totals > 0)
    detailed = len(names) <= DETAILED
    side = max(3.0, 0.58 * len(names)) if detailed else min(8.0, 5.0 + len(names) / 100)

    # The matrix fills the figure; what reaches beyond it is taken in when the figure is saved.
    figure = Figure(figsize=(side, side))
    axes = figure.add_axes((0, 0, 1, 1))
    lines = textwrap.wrap(one_line(title), int(9 * max(side, 5.0)), max_lines=2, placeholder="…")
    axes.set_title("\n".join(lines), loc="left", fontsize=12, fontweight="bold", parse_math=False)
    mistakes = _draw_matrix(axes, shares, names, step=1 if detailed else math.ceil(len(names) / TICKS))
    if detailed:
        _label_cells(axes, counts, shares)
    else:
        _draw_scale(figure, mistakes, (1 + 0.2 / side, 0.5, 0.12 / side, 0.5))
        _list_pairs(figure.add_axes((1 + 1.1 / side, 0, 3 / side, 1)), scores)
    return figure


def _draw_matrix(axes: Axes, shares: np.ndarray, names: Sequence[str], step: int) -> AxesImage:
    """Draw the matrix with a class name at every `step`-th tick; returns the image of the mistakes."""
    diagonal = np.eye(len(names), dtype=bool)
    percent = 100 * shares
    wrong = np.ma.masked_where(diagonal | ~np.isfinite(shares), percent)
    right = np.ma.masked_where(~diagonal | ~np.isfinite(shares), percent)
    # A square-root scale: among many classes even one mistake must be told from none.
    norm = PowerNorm(
        1.0 if len(names) <= DETAILED else 0.5, vmin=0, vmax=max(MILD, float(wrong.max()) if wrong.count() else 0.0)
    )
    reds = LinearSegmentedColormap.from_list("mistakes", ["white", *MISTAKES])
    axes.set_facecolor(FAINT)
    axes.imshow(right, cmap="Blues", vmin=0, vmax=130, interpolation="nearest")
    image = axes.imshow(wrong, cmap=reds, norm=norm, interpolation="nearest")
    style: dict[str, Any] = {"fontsize": 9 if step == 1 else 7, "parse_math": False}
    ticks = range(0, len(names), step)
    axes.set_xticks(ticks, names[::step], rotation=90, **style)
    axes.set_yticks(ticks, names[::step], **style)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=2, color="#888888")
    axes.spines[:].set_color("#888888")
    return image


def _draw_scale(figure: Figure, image: AxesImage, place: tuple[float, float, float, float]) -> None:
    bar = figure.colorbar(image, cax=figure.add_axes(place), ticks=MaxNLocator(5), format="%g%%")
    bar.set_label("mistakes, share of the true class", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)


def _label_cells(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Print percent and count in each cell that is not empty."""
    worst = 100 * float(max([shares[i, j] for i, j in _cells(shares) if i != j], default=0))
    for true, predicted in _cells(shares):
        share, count = 100 * shares[true, predicted], counts[true, predicted]
        dark = share > 60 if true == predicted else share > 0.7 * max(MILD, worst)
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": "white" if dark else "#222222"}
        for text, size, offset in ((f"{share:.0f}%", 9, 6), (f"{count:,.0f}", 7, -6)):
            axes.annotate(text, (predicted, true), (0, offset), textcoords="offset points", fontsize=size, **style)


def _cells(shares: np.ndarray) -> list[tuple[int, int]]:
    return [(i, j) for i, row in enumerate(shares) for j, share in enumerate(row) if share > 0]


def _list_pairs(axes: Axes, scores: Scores) -> None:
    """Write the most-confused pairs from the top of `axes` down."""
    axes.set_axis_off()
    pairs = most_confused(scores, PAIRS)
    lines = [("Most confused" if pairs else "No mistakes", 10, "bold", "black", 26)]
    for pair in pairs:
        lines.append((f"{class_name(pair.true)} → {class_name(pair.predicted)}", 9, "normal", "black", 13))
        share = f"{pair.count:,} of {pair.total:,} images ({pair.count / pair.total:.0%})"
        lines.append((share, 8, "normal", "#666666", 23))
    fixed: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "parse_math": False}
    below = 0
    for text, size, weight, color, height in lines:
        style: dict[str, Any] = {"fontsize": size, "fontweight": weight, "color": color, "va": "top"}
        axes.annotate(text, (0, 1), (0, -below), **fixed, **style)
        below += height
