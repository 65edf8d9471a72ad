"""The pictures are there, can be looked at, and survive whatever the data calls its classes."""

import math
import random
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from run_records import make_scores, make_steps, make_validation

from nfft.reporting.plots.confusion import plot_confusion
from nfft.reporting.plots.curves import plot_curves
from nfft.reporting.plots.figure import save_figure
from nfft.reporting.plots.images import plot_images
from nfft.reporting.plots.penalties import plot_penalties
from nfft.runs.records import FeatureMetrics, Metrics, Scores, SolutionMetrics
from nfft.text import shorten

NAMES = ["$x_1$", "$\\frac{", "two\nlines", "日本語", "é/ü_ø", "\ud800", "nul\x00", "%s {}", "", "long " * 50]


def picture(figure: Figure, folder: Path) -> Image.Image:
    """What a figure is as a file, which replaces another."""
    path = folder / "picture.png"
    path.write_bytes(b"an older picture")
    save_figure(figure, path)
    assert list(folder.iterdir()) == [path]
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.convert("RGB")


def confused_scores(names: Sequence[str]) -> Scores:
    """Twenty of each class right, and one of some taken for some others."""
    draw, classes = random.Random(0), range(len(names))
    confusion = [(true, true, 20) for true in classes]
    confusion += [(i, j, 1) for i in classes for j in classes if i != j and draw.random() < 0.05]
    return make_scores(names, confusion=tuple(confusion))


def numbered(classes: int) -> list[str]:
    return [f"class {index}" for index in range(classes)]


@pytest.mark.parametrize(
    "metrics",
    [
        [],
        make_steps(1),
        [*make_steps(100), make_validation(50, "raw"), make_validation(100, "raw"), make_validation(100, "ema")],
        make_steps(1, loss=None, top1=None, clipped=None),
        [*make_steps(40), replace(make_steps(41)[-1], loss=math.inf, top1=math.nan, clipped=None)],
    ],
    ids=["empty", "one step", "usual", "nothing finite", "diverged"],
)
def test_curves(tmp_path: Path, metrics: list[Metrics]) -> None:
    image = picture(plot_curves(metrics, "A $title_1$"), tmp_path)
    assert image.width >= 800 and image.height >= 800
    assert len(image.getcolors(1 << 24)) > 10


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_confusion(tmp_path: Path, classes: int) -> None:
    image = picture(plot_confusion(confused_scores(numbered(classes)), "Flowers: test"), tmp_path)
    assert 400 < image.width < 3000 and 400 < image.height < 3000
    assert 0.5 < image.width / image.height < 2
    assert len(image.getcolors(1 << 24)) > 10


@pytest.mark.parametrize("copies", [1, 4])
def test_confusion_with_hostile_names(tmp_path: Path, copies: int) -> None:
    scores = confused_scores(NAMES * copies)
    scores = replace(scores, confusion=tuple(pair for pair in scores.confusion if pair[0] != 3))
    assert picture(plot_confusion(scores, "\n$title_1$ " * 40), tmp_path).width < 3000


def test_confusion_without_a_mistake_and_without_an_image(tmp_path: Path) -> None:
    for confusion in (((0, 0, 3), (1, 1, 3)), ()):
        figure = plot_confusion(make_scores(["a", "b"], confusion=confusion), "Perfect")
        assert picture(figure, tmp_path).width > 300


def test_thousands_of_classes_are_listed_and_not_drawn(tmp_path: Path) -> None:
    scores = make_scores(numbered(5001), confusion=tuple((index, index + 1, 2) for index in range(5000)))
    assert 300 < picture(plot_confusion(scores, "Many"), tmp_path).height < 1500


def solution(l2: float, top1: float) -> SolutionMetrics:
    return SolutionMetrics(l2=l2, iterations=9, train_loss=0.1, loss=1 - top1, top1=top1)


@pytest.mark.parametrize(
    "solutions", [[solution(10**-power, 0.5 + 0.1 * power) for power in range(4)], [solution(0.0, 0.5)]]
)
def test_penalties(tmp_path: Path, solutions: list[SolutionMetrics]) -> None:
    features = FeatureMetrics(name="train", images=10, seconds=1.0)
    image = picture(plot_penalties([features, *solutions], "a net on $data_"), tmp_path)
    assert (np.asarray(image) != 255).any(axis=2).mean() > 0.01


def test_a_sheet_of_images(tmp_path: Path) -> None:
    images = np.zeros((7, 8, 8, 3), np.uint8)
    image = picture(plot_images(images, ["a\n$b", *"cdefgh"], "images"), tmp_path)
    black = (np.asarray(image) == 0).all(axis=2)
    assert black[: image.height // 2].sum() > 5 * black[image.height // 2 :].sum() > 0, "six in a row, and one below"


def test_shorten_keeps_both_ends() -> None:
    assert shorten("golden retriever", 26) == "golden retriever"
    short = shorten("American black and tan coonhound, variety 12", 26)
    assert len(short) <= 26 and short.startswith("American") and short.endswith("12") and "…" in short


def test_names_in_scripts_without_a_font_are_written_as_codes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    odd = chr(0x12000) + "x"  # cuneiform, for which there is hardly a font
    from nfft.reporting.plots import figure

    figure._tell_of_missing_fonts.cache_clear()
    scores = confused_scores([odd, "ant"])
    made = plot_confusion(scores, "title")
    if figure._font_for(odd[0]) is None:
        assert "\\U00012000x" in [label.get_text() for label in made.axes[0].get_xticklabels()]
        assert "no installed font has some letters" in caplog.text
    picture(made, tmp_path)


def test_letters_come_from_any_installed_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib import font_manager

    from nfft.reporting.plots import figure

    pen = TTGlyphPen(None)
    for point in ((0, 0), (0, 900), (900, 900), (900, 0)):
        (pen.lineTo if point != (0, 0) else pen.moveTo)(point)
    pen.closePath()
    letter = chr(0x12001)
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "one"])
    font.setupCharacterMap({ord(letter): "one"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "one": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (1000, 0), "one": (1000, 0)})
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Nfft Test", "styleName": "Regular"})
    font.setupOS2(sTypoAscender=900, sTypoDescender=-100)
    font.setupPost()
    font.save(tmp_path / "test.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    font_manager.fontManager.addfont(tmp_path / "test.ttf")
    figure._font_for.cache_clear()
    made = plot_confusion(confused_scores([letter, "ant"]), "title")
    (tmp_path / "out").mkdir()
    picture(made, tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.draw_without_rendering()  # warns of letters that no font of the text has
    assert made.axes[0].get_xticklabels()[0].get_text() == letter
    figure._font_for.cache_clear()
