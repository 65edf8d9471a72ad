"""The pictures are there, can be looked at, and survive whatever the data calls its classes."""

import math
import random
from pathlib import Path

import pytest
from PIL import Image

from nfft.evaluation.metrics import most_confused
from nfft.reporting.plots import plot_confusion, plot_curves
from nfft.text import shorten

NAMES = ["$x_1$", "$\\frac{", "two\nlines", "日本語", "é/ü_ø", "\ud800", "nul\x00", "%s {}", "", "long " * 50]


def picture(path: Path) -> Image.Image:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def train(steps: int) -> list[dict]:
    return [
        {"kind": "train", "step": step, "loss": 3 / step, "top1": 1 - 1 / step, "lr": 0.1, "clipped": 0.2}
        for step in range(1, steps + 1)
    ]


def validation(step: int, weights: str) -> dict:
    return {"kind": "validation", "step": step, "weights": weights, "loss": 1.0, "top1": 0.5}


def make_scores(classes: int, names: list[str] | None = None) -> dict:
    draw = random.Random(0)
    confusion = [[index, index, 20] for index in range(classes)]
    confusion += [[i, j, 1] for i in range(classes) for j in range(classes) if i != j and draw.random() < 0.05]
    names = names or [f"class {index}" for index in range(classes)]
    return {"confusion": confusion, "per_class": [{"name": name} for name in names]}


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        train(1),
        [*train(100), validation(50, "raw"), validation(100, "raw"), validation(100, "ema")],
        [{"kind": "train", "step": 1, "loss": math.nan, "top1": None, "lr": 0.1, "clipped": None}],
        [*train(40), {"kind": "train", "step": 41, "loss": math.inf, "top1": math.nan, "lr": 0.1, "clipped": math.nan}],
    ],
    ids=["empty", "one step", "usual", "nothing finite", "diverged"],
)
def test_curves(tmp_path, metrics):
    path = tmp_path / "curves.png"
    plot_curves(metrics, path, "A $title_1$")
    image = picture(path)
    assert image.width >= 800 and image.height >= 800
    assert len(image.getcolors(1 << 24)) > 10
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_confusion(tmp_path, classes):
    path = tmp_path / "confusion.png"
    path.write_bytes(b"an older picture")
    plot_confusion(make_scores(classes), path, "Flowers: test")
    image = picture(path)
    assert 400 < image.width < 3000 and 400 < image.height < 3000
    assert 0.5 < image.width / image.height < 2
    assert len(image.getcolors(1 << 24)) > 10
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("copies", [1, 4])
def test_confusion_with_hostile_names(tmp_path, copies):
    names = NAMES * copies
    scores = make_scores(len(names), names)
    scores["confusion"] = [each for each in scores["confusion"] if each[0] != 3]
    plot_confusion(scores, tmp_path / "confusion.png", "\n$title_1$ " * 40)
    assert picture(tmp_path / "confusion.png").width < 3000


def test_confusion_without_a_mistake_and_without_an_image(tmp_path):
    for confusion in ([[0, 0, 3], [1, 1, 3]], []):
        scores = make_scores(2) | {"confusion": confusion}
        plot_confusion(scores, tmp_path / "confusion.png", "Perfect")
        assert picture(tmp_path / "confusion.png").width > 300


def test_most_confused_counts_images_then_shares():
    confusion = [[0, 0, 5], [0, 1, 2], [1, 1, 8], [1, 2, 2], [2, 0, 1], [2, 2, 90]]
    assert most_confused(confusion, 2) == [(0, 1, 2, 7), (1, 2, 2, 10)]
    assert most_confused(confusion, 9)[-1] == (2, 0, 1, 91)
    assert most_confused([[0, 0, 4], [1, 1, 4]], 5) == []


def test_thousands_of_classes_are_listed_and_not_drawn(tmp_path):
    confusion = [[index, index + 1, 2] for index in range(5000)]
    scores = {"confusion": confusion, "per_class": [{"name": f"class {index}"} for index in range(5001)]}
    plot_confusion(scores, tmp_path / "confusion.png", "Many")
    assert 300 < picture(tmp_path / "confusion.png").height < 1500


def test_shorten_keeps_both_ends():
    assert shorten("golden retriever", 26) == "golden retriever"
    short = shorten("American black and tan coonhound, variety 12", 26)
    assert len(short) <= 26 and short.startswith("American") and short.endswith("12") and "…" in short
