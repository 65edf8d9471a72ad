"""A task of one's own, with images that a function makes: 3 shapes, 240 pictures.

nfft finetune --task examples/own_task.py --epochs 5
"""

import numpy as np
from PIL import Image, ImageDraw

from nfft import Task

SHAPES = ("circle", "square", "triangle")
SIDE, EACH = 48, 80


def load() -> dict[str, object]:
    """Shapes of random size, place and color on gray.

    Returns:
        image: uint8 (240, 48, 48, 3); label: places in names; names: of the classes.
    """
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(SHAPES)), EACH)
    return {"image": np.stack([draw(SHAPES[label], random) for label in labels]), "label": labels, "names": SHAPES}


def draw(shape: str, random: np.random.Generator) -> np.ndarray:
    """One picture (48, 48, 3)."""
    picture = Image.new("RGB", (SIDE, SIDE), "gray")
    radius = int(random.integers(8, 16))
    x, y = (int(place) for place in random.integers(radius, SIDE - radius, 2))
    color = tuple(int(channel) for channel in random.integers(0, 256, 3))
    pen = ImageDraw.Draw(picture)
    if shape == "triangle":
        pen.regular_polygon((x, y, radius), 3, fill=color)
    else:
        paint = pen.ellipse if shape == "circle" else pen.rectangle
        paint((x - radius, y - radius, x + radius, y + radius), fill=color)
    return np.asarray(picture)


TASK = Task(
    name="shapes",
    source=load,
    test_fraction=0.2,
    title="Circles, squares and triangles",
    note="Made by examples/own_task.py, the same in every run.",
)
