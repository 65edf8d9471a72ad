"""Random erasing: a rectangle of an image is filled with noise."""

import math

import numpy as np

# Of the rectangle: its share of the picture's area, and its height by its width.
AREAS, ASPECTS = (0.02, 1 / 3), (0.3, 1 / 0.3)
TRIES = 10


def erase(view: np.ndarray, rng: np.random.Generator) -> None:
    """Fill a random rectangle with uniform noise, each color of each pixel drawn by itself; ten misses leave it out.

    Args:
        view: (height, width, 3), uint8; changed in place.

    Source: arXiv 1708.04896, RE-R; the share is uniform and the logarithm of the aspect ratio, as timm draws them.
    Differs: timm erases what is normalized: of its fills, "pixel" is normal noise about the mean color, and "const"
        that color. With its prefetcher, it erases after mixing.
    """
    height, width = view.shape[:2]
    for _ in range(TRIES):
        area = rng.uniform(*AREAS) * height * width
        aspect = math.exp(rng.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            view[top : top + h, left : left + w] = rng.integers(256, size=(h, w, 3), dtype=np.uint8)
            return
