"""What all pictures have in common: how they look, and how they become a file."""

import functools
import io
import logging
import warnings
from pathlib import Path

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from nfft.files import write_bytes
from nfft.text import shorten

logger = logging.getLogger(__name__)

DPI = 150
FAINT = "#DDDDDD"
# Of figures on training images, and on validation with raw weights.
TRAIN, RAW = "#4477AA", "#EE7733"
NAME = 26  # characters of a class name


def set_title(figure: Figure, text: str, size: float = 12) -> None:
    """Show a title above all panels."""
    figure.suptitle(text, fontsize=size, fontweight="bold", parse_math=False)


def strip(axes: Axes) -> None:
    """Leave of frame and grid what helps to read values."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)


def class_name(text: str, limit: int = NAME) -> str:
    """A name of a user's, short enough; letters that no installed font has are written as codes, such as \\u5411."""
    letters = shorten(text, limit)
    known = [letter if _font_for(letter) is not None else _code_of(letter) for letter in letters]
    return shorten("".join(known), limit)


def _code_of(letter: str) -> str:
    _tell_of_missing_fonts()
    return letter.encode("ascii", "backslashreplace").decode()


@functools.cache
def _tell_of_missing_fonts() -> None:
    logger.warning("no installed font has some letters of the class names: plots have codes for them, such as \\u5411")


@functools.cache
def _font_for(letter: str) -> str | None:
    """The family of an installed font that has a letter, the usual one first; None where none has."""
    usual = font_manager.findfont(font_manager.FontProperties())
    if letter.isspace() or ord(letter) in _letters_of(usual):
        return font_manager.get_font(usual).family_name
    fonts = sorted(font_manager.fontManager.ttflist, key=lambda font: (font.style != "normal", font.weight != 400))
    return next((font.name for font in fonts if ord(letter) in _letters_of(font.fname)), None)


@functools.cache
def _letters_of(font: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(font).get_charmap())
    except (OSError, RuntimeError):  # deleted since, or not what it seems
        return frozenset()


def _letters(figure: Figure) -> set[str]:
    return {letter for text in figure.findobj(Text) for letter in text.get_text()}  # type: ignore[attr-defined]


def _use_fonts_that_have_all(figure: Figure) -> None:
    """Let each text take letters that its font lacks from another."""
    figure.draw_without_rendering()  # else there are no ticks yet
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        families = {family: None for letter in text.get_text() if (family := _font_for(letter)) is not None}
        text.set_fontfamily([*text.get_fontfamily(), *families])


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG; what is there is replaced at once."""
    picture = io.BytesIO()
    # What is placed by hand may reach beyond the figure, and is taken in.
    extent = "tight" if figure.get_layout_engine() is None else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        if any(_font_for(letter) != _font_for(" ") for letter in _letters(figure)):
            _use_fonts_that_have_all(figure)
        figure.savefig(picture, format="png", dpi=DPI, bbox_inches=extent, pad_inches=0.15)
    write_bytes(path, picture.getvalue())
