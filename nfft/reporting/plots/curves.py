"""A run's learning curves."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfft.reporting.plots.figure import RAW, TRAIN, set_title, strip
from nfft.runs.records import Metrics, StepMetrics, ValidationMetrics
from nfft.text import shorten

# Weights, what the legend calls them, color and marker.
VALIDATION = (("raw", "raw weights", RAW, "o"), ("ema", "averaged weights (EMA)", "#009988", "s"))
RATE, CLIPPED, OTHERS = "#555555", "#AA3377", "#777777"


def plot_curves(metrics: Sequence[Metrics], title: str) -> Figure:
    """Loss, top-1, learning rate and share of clipped units against the optimizer step.

    Args:
        metrics: of a run, in order; those of steps and validation are drawn.
        title: shown above the panels.
    """
    figure = Figure(figsize=(8, 9), layout="constrained")
    loss, top1, rates = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 2])
    set_title(figure, shorten(title, 70))
    _draw_progress(loss, metrics, "loss", scale=1, digits=3)
    _draw_progress(top1, metrics, "top1", scale=100, digits=1)
    loss.set_ylabel("loss")
    top1.set_ylabel("top-1 accuracy (%)")
    loss.legend(loc="upper right", frameon=False, fontsize=9)
    _draw_rates(rates, [line for line in metrics if isinstance(line, StepMetrics)])
    rates.set_xlabel("optimizer step")
    rates.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure


def _draw_progress(axes: Axes, metrics: Sequence[Metrics], name: str, scale: float, digits: int) -> None:
    """One measure over train, faint and smoothed, and over validation for each set of weights."""
    steps, values = _series([line for line in metrics if isinstance(line, StepMetrics)], name)
    smooth = _smoothed(values)
    axes.plot(steps, scale * values, color=TRAIN, alpha=0.25, linewidth=0.8)
    marker = "." if len(steps) == 1 else None
    axes.plot(steps, scale * smooth, color=TRAIN, linewidth=1.8, marker=marker, label="train, on augmented images")
    ends = [(scale * smooth, TRAIN)]
    for weights, label, color, marker in VALIDATION:
        evaluations = [line for line in metrics if isinstance(line, ValidationMetrics) and line.weights == weights]
        if evaluations:
            steps, values = _series(evaluations, name)
            style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.4}
            axes.plot(steps, scale * values, label=f"validation, {label}", **style)
            ends.append((scale * values, color))
    named = {weights for weights, *_ in VALIDATION}
    others = [line for line in metrics if isinstance(line, ValidationMetrics) and line.weights not in named]
    if others:
        # Each is scored once, at the end.
        steps, values = _series(others, name)
        axes.plot(steps, scale * values, "x", color=OTHERS, markersize=4, label="validation, further weights")
    strip(axes)
    _label_ends(axes, ends, digits)


def _draw_rates(axes: Axes, metrics: Sequence[StepMetrics]) -> None:
    """Learning rate on the left axis; on the right the percentage of units clipped, where there was clipping."""
    strip(axes)
    steps, values = _series(metrics, "lr")
    axes.plot(steps, values, color=RATE, linewidth=1.8, marker="." if len(steps) == 1 else None)
    axes.set_ylabel("learning rate", color=RATE)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4))
    steps, values = _series(metrics, "clipped")
    if np.isnan(values).all():
        return
    right = axes.twinx()
    right.margins(x=0.02)
    right.spines[["top", "left"]].set_visible(False)
    right.plot(steps, 100 * values, color=CLIPPED, alpha=0.25, linewidth=0.8)
    right.plot(steps, 100 * _smoothed(values), color=CLIPPED, linewidth=1.8)
    right.set_ylabel("units clipped (%)", color=CLIPPED)
    right.set_ylim(bottom=0)


def _series(metrics: Sequence[StepMetrics | ValidationMetrics], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps, and values of what is called `name`, NaN where not finite; both (n,)."""
    values = np.array([getattr(line, name) for line in metrics], dtype=float)
    values[~np.isfinite(values)] = math.nan
    return np.array([line.step for line in metrics], dtype=float), values


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Centered moving average over about a twentieth of the points; those that are not finite do not count."""
    width = min(len(values), len(values) // 20 * 2 + 1)
    if width < 3:
        return values
    finite, window = np.isfinite(values), np.ones(width)
    count = np.convolve(finite, window, "same")
    total = np.convolve(np.where(finite, values, 0), window, "same")
    return np.where(finite, total / np.maximum(count, 1), math.nan)


def _label_ends(axes: Axes, ends: list[tuple[np.ndarray, str]], digits: int) -> None:
    """Print the last value of each line at the right edge, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    last = []
    for values, color in ends:
        finite = [float(value) for value in values if not math.isnan(value)]
        if finite:
            last.append(((finite[-1] - low) / (high - low), f"{finite[-1]:.{digits}f}", color))
    last.sort()
    if not last:
        axes.text(0.5, 0.5, "no finite values", color="#666666", ha="center", transform=axes.transAxes)
        return
    heights = [last[0][0]]
    for height, _, _ in last[1:]:
        heights.append(max(height, heights[-1] + 0.065))
    down = (heights[-1] - last[-1][0]) / 2
    for height, (_, text, color) in zip(heights, last, strict=True):
        style: dict[str, Any] = {"color": color, "fontsize": 9, "fontweight": "bold", "va": "center"}
        axes.text(1.01, height - down, text, transform=axes.transAxes, **style)
