"""Plots of methods are drawn from whatever runs leave."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfft.experiments.plots import plot_comparison
from nfft.reporting.plots import plot_penalties


def solution(l2: float, top1: float) -> dict:
    return {"kind": "solution", "l2": l2, "iterations": 9, "train_loss": 0.1, "loss": 1 - top1, "top1": top1}


def drawn(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    "solutions",
    [
        [solution(10**-power, 0.5 + 0.1 * power) for power in range(4)],
        [solution(0.0, 0.5)],
    ],
)
def test_penalties(tmp_path: Path, solutions: list[dict]) -> None:
    features = {"kind": "features", "name": "train", "images": 10, "seconds": 1.0}
    plot_penalties([features, *solutions], tmp_path / "path.png", "a net on $data_")
    assert (drawn(tmp_path / "path.png") != 255).any(axis=2).mean() > 0.01


@pytest.mark.parametrize("seeds", [1, 3])
def test_comparison(tmp_path: Path, seeds: int) -> None:
    rows = [
        {
            "method": f"method_{number}",
            "split": "test",
            "top1": [0.8 + 0.01 * seed for seed in range(seeds)],
            "low": 0.7 if seeds > 1 else None,
            "high": 1.1 if seeds > 1 else None,
            "wall_seconds": [10.0 * (number + 1) + seed for seed in range(seeds)],
        }
        for number in range(8)
    ]
    plot_comparison(rows, tmp_path / "compare.png", "data with net")
    assert (drawn(tmp_path / "compare.png") != 255).any(axis=2).mean() > 0.01
