"""A sheet of images."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from nfft.reporting.plots.figure import class_name, set_title
from nfft.text import shorten

COLUMNS = 6


def plot_images(images: np.ndarray, captions: Sequence[str], title: str) -> Figure:
    """Images in rows of six, each with its caption below.

    Args:
        images: (n, side, side, 3), uint8.
        captions: one an image, of at most two lines.
        title: shown above the rows.
    """
    rows = math.ceil(len(images) / COLUMNS)
    figure = Figure(figsize=(1.7 * COLUMNS, 2.0 * rows + 0.4), layout="constrained")
    set_title(figure, shorten(title, 100), size=10)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, image, caption in zip(panels, images, captions, strict=False):
        axes.imshow(image, interpolation="nearest")
        text = "\n".join(class_name(line) for line in caption.splitlines())
        axes.set_xlabel(text, fontsize=7, parse_math=False)
    return figure
