"""A plot of methods is drawn from whatever runs leave."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfft.experiments.plots import plot_comparison
from nfft.experiments.records import ComparisonRow
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
    save_figure(plot_comparison(rows, "data with net"), tmp_path / "compare.png")
    with Image.open(tmp_path / "compare.png") as image:
        assert (np.asarray(image.convert("RGB")) != 255).any(axis=2).mean() > 0.01
