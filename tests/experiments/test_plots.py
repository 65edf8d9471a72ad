"""A plot of methods is drawn from whatever runs leave."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

from nfft.experiments.learning_curve import curves_of
from nfft.experiments.plots import plot_learning_curves
from nfft.experiments.records import ComparisonRow
from nfft.experiments.report import write_comparison
from nfft.reporting.plots.figure import save_figure


@pytest.mark.parametrize("seeds", [1, 3])
def test_comparison(tmp_path: Path, seeds: int) -> None:
    rows = [
        ComparisonRow(
            method=f"method_{number}", split="test", images=100, top1=tuple(0.8 + 0.01 * seed for seed in range(seeds)),
            low=0.7 if seeds > 1 else None, high=1.1 if seeds > 1 else None, trained=10, parameters=100,
            wall_seconds=tuple(10.0 * (number + 1) + seed for seed in range(seeds)), peak_memory_bytes=0, disk_bytes=0,
        )
        for number in range(8)
    ]  # fmt: skip
    # Of one that was killed while it wrote, and of a user's.
    for name in (".compare.json.0123abcd", ".compare.png.0123abcd", ".notes.json.0123abcd"):
        (tmp_path / name).touch()
    write_comparison(rows, tmp_path, "data with net", "nfft compare")
    written = {"compare.json", "compare.md", "compare.png"}
    assert {path.name for path in tmp_path.iterdir()} == {*written, ".notes.json.0123abcd"}
    with Image.open(tmp_path / "compare.png") as image:
        assert (np.asarray(image.convert("RGB")) != 255).any(axis=2).mean() > 0.01


@pytest.mark.parametrize("wanted", [None, 0.85])
@pytest.mark.parametrize("shots", [(1, 2, 5, 10, 20), (3, 7)])
def test_learning_curves(tmp_path: Path, shots: tuple[int, ...], wanted: float | None) -> None:
    rows = [
        ComparisonRow(
            method=method, shots=count, split="test", images=100, low=None if seeds == 1 else top1 - 0.02,
            high=None if seeds == 1 else top1 + 0.02, top1=tuple(top1 + 0.01 * (seed % 2) for seed in range(seeds)),
            seeds=tuple(range(seeds)), trained=10, parameters=100, wall_seconds=(1.0,) * seeds,
            peak_memory_bytes=0, disk_bytes=0,
        )
        for method, power, seeds in (("probe", 0.4, 3), ("full", 0.7, 3), ("flat", 0.0, 3), ("lora", 0.3, 1))
        for count in shots
        if (top1 := 0.95 - 0.6 * count**-power)
    ]  # fmt: skip
    curves = curves_of(rows, wanted)
    figure = plot_learning_curves(curves, rows, "data with net")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "training images a class"
    drawn = {line.get_label().split("\n")[0]: line for line in axes.lines}
    for curve in curves:
        assert drawn[curve.method].get_ydata() == pytest.approx([100 * top1 for top1 in curve.top1])
    intervals = [
        line for lines in axes.collections if isinstance(lines, LineCollection) for line in lines.get_segments()
    ]
    assert len(intervals) >= 3 * len(shots)
    farthest = max(x for line in axes.lines if not line.get_label().startswith("wanted") for x in line.get_xdata())
    assert (farthest > 1.2 * shots[-1]) == (wanted is not None and len(shots) > 2)
    save_figure(figure, tmp_path / "compare.png")
