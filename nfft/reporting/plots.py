"""Pictures of a run: its images, its learning curves, and which classes it takes for which."""

import io
import math
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfft.evaluation.metrics import most_confused
from nfft.files import write_bytes
from nfft.text import one_line, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy import ndarray


DPI = 150
DETAILED = 20  # classes up to which every cell is labelled
DRAWN = 1000  # classes up to which there is a matrix
TICKS = 25  # class names along an axis, beyond that
COLUMNS = 6  # of a sheet of images
PAIRS = 10  # confused pairs listed, beyond that
NAME = 26  # characters of a class name

VALIDATION = (("raw", "raw weights", "#EE7733", "o"), ("ema", "averaged weights (EMA)", "#009988", "s"))
TRAIN, RATE, CLIPPED = "#4477AA", "#555555", "#AA3377"
FAINT = "#DDDDDD"
MISTAKES = ("#F4A582", "#B2182B")
MILD = 20.0  # percent; the scale of mistakes goes at least this far, so that few mistakes do not look grave


def plot_curves(metrics: list[dict], path: Path, title: str) -> None:
    """Write a PNG of loss, top-1, learning rate and share of clipped units against the optimizer step.

    Args:
        metrics: the lines of a run's metrics file, of kind "train" and "validation".
        path: where to write; what is there is replaced at once.
        title: shown above the panels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 9), layout="constrained")
    loss, top1, rates = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 2])
    figure.suptitle(shorten(title, 70), fontsize=12, fontweight="bold", parse_math=False)
    _draw_progress(loss, metrics, "loss", scale=1, digits=3)
    _draw_progress(top1, metrics, "top1", scale=100, digits=1)
    loss.set_ylabel("loss")
    top1.set_ylabel("top-1 accuracy (%)")
    loss.legend(loc="upper right", frameon=False, fontsize=9)
    _draw_rates(rates, metrics)
    rates.set_xlabel("optimizer step")
    rates.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    save_figure(figure, path)


def _draw_progress(axes: "Axes", metrics: list[dict], key: str, scale: float, digits: int) -> None:
    """One measure over train, faint and smoothed, and over validation for each set of weights."""
    steps, values = _series(metrics, key, kind="train")
    smooth = _smoothed(values)
    axes.plot(steps, scale * values, color=TRAIN, alpha=0.25, linewidth=0.8)
    marker = "." if len(steps) == 1 else None
    axes.plot(steps, scale * smooth, color=TRAIN, linewidth=1.8, marker=marker, label="train, on augmented images")
    ends = [(scale * smooth, TRAIN)]
    for weights, label, colour, marker in VALIDATION:
        steps, values = _series(metrics, key, kind="validation", weights=weights)
        if len(steps):
            style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.4}
            axes.plot(steps, scale * values, label=f"validation, {label}", **style)
            ends.append((scale * values, colour))
    strip(axes)
    _label_ends(axes, ends, digits)


def _draw_rates(axes: "Axes", metrics: list[dict]) -> None:
    """Learning rate on the left axis; on the right the percentage of units clipped, where there was clipping."""
    strip(axes)
    steps, values = _series(metrics, "lr", kind="train")
    axes.plot(steps, values, color=RATE, linewidth=1.8, marker="." if len(steps) == 1 else None)
    axes.set_ylabel("learning rate", color=RATE)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
    steps, values = _series(metrics, "clipped", kind="train")
    if all(math.isnan(value) for value in values):
        return
    right = axes.twinx()
    right.margins(x=0.02)
    right.spines[["top", "left"]].set_visible(False)
    right.plot(steps, 100 * values, color=CLIPPED, alpha=0.25, linewidth=0.8)
    right.plot(steps, 100 * _smoothed(values), color=CLIPPED, linewidth=1.8)
    right.set_ylabel("units clipped (%)", color=CLIPPED)
    right.set_ylim(bottom=0)


def _series(metrics: list[dict], key: str, **wanted: str) -> "tuple[ndarray, ndarray]":
    """Steps and values, NaN where not finite, of the lines that have the `wanted` entries."""
    import numpy as np

    lines = [line for line in metrics if all(line.get(name) == value for name, value in wanted.items())]
    values = np.array([math.nan if line.get(key) is None else float(line[key]) for line in lines], dtype=float)
    values[~np.isfinite(values)] = math.nan
    return np.array([line["step"] for line in lines], dtype=float), values


def _smoothed(values: "ndarray") -> "ndarray":
    """Centred moving average over about a twentieth of the points; those that are not finite do not count."""
    import numpy as np

    width = min(len(values), len(values) // 20 * 2 + 1)
    if width < 3:
        return values
    finite, window = np.isfinite(values), np.ones(width)
    count = np.convolve(finite, window, "same")
    total = np.convolve(np.where(finite, values, 0), window, "same")
    return np.where(finite, total / np.maximum(count, 1), math.nan)


def strip(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)


def _label_ends(axes: "Axes", ends: "list[tuple[ndarray, str]]", digits: int) -> None:
    """Print the last value of each line at the right edge, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    last = []
    for values, colour in ends:
        kept = [float(value) for value in values if not math.isnan(value)]
        if kept:
            last.append(((kept[-1] - low) / (high - low), f"{kept[-1]:.{digits}f}", colour))
    last.sort()
    if not last:
        axes.text(0.5, 0.5, "no finite values", color="#666666", ha="center", transform=axes.transAxes)
        return
    heights = [last[0][0]]
    for height, _, _ in last[1:]:
        heights.append(max(height, heights[-1] + 0.065))
    down = (heights[-1] - last[-1][0]) / 2
    for height, (_, text, colour) in zip(heights, last, strict=True):
        style: dict[str, Any] = {"color": colour, "fontsize": 9, "fontweight": "bold", "va": "center"}
        axes.text(1.01, height - down, text, transform=axes.transAxes, **style)


def plot_confusion(scores: dict, path: Path, title: str) -> None:
    """Write a PNG of the confusion matrix, each row as shares of its true class.

    Right answers are blue and mistakes red. Up to 20 classes every cell is labelled; beyond that the
    most-confused pairs are listed beside the matrix, and beyond 1,000 in its place.

    Args:
        scores: of one split; "confusion" and the names in "per_class" are drawn.
        path: where to write; what is there is replaced at once.
        title: shown above the matrix.
    """
    import numpy as np
    from matplotlib.figure import Figure

    names = [shorten(entry["name"], NAME) for entry in scores["per_class"]]
    if len(names) > DRAWN:
        figure = Figure(figsize=(5, 5))
        figure.suptitle(shorten(title, 60), fontsize=12, fontweight="bold", parse_math=False)
        _list_pairs(figure.add_axes((0, 0, 1, 0.92)), scores["confusion"], names)
        save_figure(figure, path, trim=True)
        return
    counts = np.zeros((len(names), len(names)))
    for true, predicted, count in scores["confusion"]:
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
        _list_pairs(figure.add_axes((1 + 1.1 / side, 0, 3 / side, 1)), scores["confusion"], names)
    save_figure(figure, path, trim=True)


def _draw_matrix(axes: "Axes", shares: "ndarray", names: list[str], step: int) -> Any:
    """Draw the matrix with a class name at every `step`-th tick; returns the image of the mistakes."""
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

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


def _draw_scale(figure: "Figure", image: Any, place: tuple[float, float, float, float]) -> None:
    from matplotlib.ticker import MaxNLocator

    bar = figure.colorbar(image, cax=figure.add_axes(place), ticks=MaxNLocator(5), format="%g%%")
    bar.set_label("mistakes, share of the true class", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)


def _label_cells(axes: "Axes", counts: "ndarray", shares: "ndarray") -> None:
    """Print percent and count in each cell that is not empty."""
    worst = 100 * float(max([shares[i, j] for i, j in _cells(shares) if i != j], default=0))
    for true, predicted in _cells(shares):
        share, count = 100 * shares[true, predicted], counts[true, predicted]
        dark = share > 60 if true == predicted else share > 0.7 * max(MILD, worst)
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": "white" if dark else "#222222"}
        for text, size, offset in ((f"{share:.0f}%", 9, 6), (f"{count:,.0f}", 7, -6)):
            axes.annotate(text, (predicted, true), (0, offset), textcoords="offset points", fontsize=size, **style)


def _cells(shares: "ndarray") -> list[tuple[int, int]]:
    return [(i, j) for i, row in enumerate(shares) for j, share in enumerate(row) if share > 0]


def _list_pairs(axes: "Axes", confusion: list[list[int]], names: list[str]) -> None:
    """Write the most-confused pairs from the top of `axes` down."""
    axes.set_axis_off()
    pairs = most_confused(confusion, PAIRS)
    lines = [("Most confused" if pairs else "No mistakes", 10, "bold", "black", 26)]
    for true, predicted, count, total in pairs:
        lines.append((f"{names[true]} → {names[predicted]}", 9, "normal", "black", 13))
        lines.append((f"{count:,} of {total:,} images ({count / total:.0%})", 8, "normal", "#666666", 23))
    fixed: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "parse_math": False}
    below = 0
    for text, size, weight, colour, height in lines:
        style: dict[str, Any] = {"fontsize": size, "fontweight": weight, "color": colour, "va": "top"}
        axes.annotate(text, (0, 1), (0, -below), **fixed, **style)
        below += height


def save_figure(figure: "Figure", path: Path, trim: bool = False) -> None:
    """Write `figure`, or all that is drawn when `trim`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    with warnings.catch_warnings():
        # Names may be in scripts that the font lacks; boxes in their place are all that can be done.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(picture, format="png", dpi=DPI, bbox_inches="tight" if trim else None, pad_inches=0.15)
    write_bytes(path, picture.getvalue())


def plot_images(images: "ndarray", captions: list[str], path: Path, title: str) -> None:
    """Write a PNG of images in rows of six, each with its caption below.

    Args:
        images: (n, side, side, 3), uint8.
        captions: one an image, of at most two lines.
    """
    from matplotlib.figure import Figure

    rows = math.ceil(len(images) / COLUMNS)
    figure = Figure(figsize=(1.7 * COLUMNS, 2.0 * rows + 0.4), layout="constrained")
    figure.suptitle(shorten(title, 100), fontsize=10, fontweight="bold", parse_math=False)
    every = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in every:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, image, caption in zip(every, images, captions, strict=False):
        axes.imshow(image, interpolation="nearest")
        text = "\n".join(shorten(line, NAME) for line in caption.splitlines())
        axes.set_xlabel(text, fontsize=7, parse_math=False)
    save_figure(figure, path)


def plot_penalties(metrics: list[dict], path: Path, title: str) -> None:
    """Write a PNG of a probe's top-1 and loss against its L2 penalty.

    Args:
        metrics: the lines of a run's metrics file; those of kind "solution" are drawn.
        path: where to write; what is there is replaced at once.
        title: shown above the panels.
    """
    from matplotlib.figure import Figure

    solutions = [line for line in metrics if line["kind"] == "solution"]
    figure = Figure(figsize=(8, 6), layout="constrained")
    top1, loss = figure.subplots(2, 1, sharex=True)
    figure.suptitle(shorten(title, 70), fontsize=12, fontweight="bold", parse_math=False)
    penalties = [line["l2"] for line in solutions]
    _, _, colour, marker = VALIDATION[0]
    validation: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "label": "validation"}
    top1.plot(penalties, [100 * line["top1"] for line in solutions], **validation)
    loss.plot(penalties, [line["loss"] for line in solutions], **validation)
    loss.plot(
        penalties, [line["train_loss"] for line in solutions], color=TRAIN, marker="s", markersize=4, label="train"
    )
    best = min(solutions, key=lambda line: line["loss"])
    for axes, name in ((top1, "top-1 accuracy (%)"), (loss, "loss")):
        axes.set_ylabel(name)
        strip(axes)
        if len(penalties) > 1:
            axes.axvline(best["l2"], color="#999999", linewidth=0.8, linestyle=":")
    top1.annotate(
        f"chosen: {best['l2']:g}, {best['top1']:.1%}", (0.99, 0.03), xycoords="axes fraction", ha="right", fontsize=9
    )
    if len(penalties) > 1:
        loss.set_xscale("log")
        loss.invert_xaxis()
    loss.set_xlabel("L2 penalty of the classifier, weaker to the right")
    loss.legend(frameon=False, fontsize=9)
    save_figure(figure, path)
