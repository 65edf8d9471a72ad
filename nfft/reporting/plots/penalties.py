"""A probe's path of penalties."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from nfft.reporting.plots.figure import RAW, TRAIN, set_title, strip
from nfft.runs.records import Metrics, SolutionMetrics
from nfft.text import shorten


def plot_penalties(metrics: Sequence[Metrics], title: str) -> Figure:
    """A probe's top-1 and loss against its L2 penalty, for the stages that the best classifier sees.

    Args:
        metrics: of a run; those of solutions are drawn, one at least.
        title: shown above the panels.
    """
    found = [line for line in metrics if isinstance(line, SolutionMetrics)]
    best = min(found, key=lambda line: line.loss)
    solutions = [line for line in found if line.stages == best.stages]
    penalties = [line.l2 for line in solutions]
    figure = Figure(figsize=(8, 6), layout="constrained")
    top1, loss = figure.subplots(2, 1, sharex=True)
    set_title(figure, shorten(title, 70))
    validation: dict[str, Any] = {"color": RAW, "marker": "o", "markersize": 4, "label": "validation"}
    top1.plot(penalties, [100 * line.top1 for line in solutions], **validation)
    loss.plot(penalties, [line.loss for line in solutions], **validation)
    train = [line.train_loss for line in solutions]
    loss.plot(penalties, train, color=TRAIN, marker="s", markersize=4, label="train")
    for axes, name in ((top1, "top-1 accuracy (%)"), (loss, "loss")):
        axes.set_ylabel(name)
        strip(axes)
        if len(penalties) > 1:
            axes.axvline(best.l2, color="#999999", linewidth=0.8, linestyle=":")
    chosen = f"chosen: {best.l2:g}, {best.top1:.1%}"
    top1.annotate(chosen, (0.99, 0.03), xycoords="axes fraction", ha="right", fontsize=9)
    if len(penalties) > 1:
        loss.set_xscale("log")
        loss.invert_xaxis()
    loss.set_xlabel("L2 penalty of the classifier, weaker to the right")
    loss.legend(frameon=False, fontsize=9)
    return figure
