"""What all pictures have in common: how they look, and how they become a file."""

import io
import warnings
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nfft.files import write_bytes

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


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG; what is there is replaced at once."""
    picture = io.BytesIO()
    # What is placed by hand may reach beyond the figure, and is taken in.
    extent = "tight" if figure.get_layout_engine() is None else None
    with warnings.catch_warnings():
        # Names may be in scripts that the font lacks; boxes in their place are all that can be done.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(picture, format="png", dpi=DPI, bbox_inches=extent, pad_inches=0.15)
    write_bytes(path, picture.getvalue())
