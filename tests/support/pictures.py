"""Pictures for tests."""

import numpy as np
from PIL import Image


def noise(side: int = 32, seed: int = 0) -> Image.Image:
    """A square image of random pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))
