"""TrivialAugment: one random operation an image, at a random strength; there is nothing to tune."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from nfft.data.randaugment import GRAY

# The strongest: px, whatever the size of the picture; px a px; degrees; and how far from 1 a factor is.
SHIFT, SHEAR, ANGLE, AWAY = 32, 0.99, 135, 0.99
# Strengths are drawn out of so many, from none to the strongest.
STRENGTHS = 31

# Of an image and a strength from -1 to 1; where there is only one way, the sign is nothing.
Operation = Callable[[Image.Image, float], Image.Image]


def distort_once(view: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply one operation out of OPERATIONS, at one of STRENGTHS; each is drawn with equal probability.

    Args:
        view: (height, width, 3), uint8.

    Source: arXiv 2103.10158, "TA (Wide)" of its Table 1; ranges as torchvision's TrivialAugmentWide has them.
    Differs: what is moved in from outside is gray, as in RandAugment here; the authors and torchvision have it black.
    """
    operation = OPERATIONS[rng.integers(len(OPERATIONS))]
    strength = rng.integers(STRENGTHS) / (STRENGTHS - 1)
    sign = 1 if rng.random() < 0.5 else -1
    return np.asarray(operation(Image.fromarray(view), sign * strength))


def identity(image: Image.Image, strength: float) -> Image.Image:
    return image


def auto_contrast(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.equalize(image)


def posterize(image: Image.Image, strength: float) -> Image.Image:
    """Keeps eight bits of each color, down to two."""
    return ImageOps.posterize(image, 8 - round(6 * abs(strength)))


def solarize(image: Image.Image, strength: float) -> Image.Image:
    return ImageOps.solarize(image, math.ceil(255 - 255 * abs(strength)))


def brightness(image: Image.Image, strength: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1 + AWAY * strength)


def color(image: Image.Image, strength: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(1 + AWAY * strength)


def contrast(image: Image.Image, strength: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(1 + AWAY * strength)


def sharpness(image: Image.Image, strength: float) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(1 + AWAY * strength)


def rotate(image: Image.Image, strength: float) -> Image.Image:
    return image.rotate(ANGLE * strength, Image.Resampling.NEAREST, fillcolor=GRAY)


def shear_x(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, (1, SHEAR * strength, 0, 0, 1, 0))


def shear_y(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, (1, 0, 0, SHEAR * strength, 1, 0))


def translate_x(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, (1, 0, int(SHIFT * strength), 0, 1, 0))


def translate_y(image: Image.Image, strength: float) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, int(SHIFT * strength)))


OPERATIONS: list[Operation] = [
    identity, auto_contrast, equalize, rotate, posterize, solarize, color, contrast, brightness, sharpness,
    shear_x, shear_y, translate_x, translate_y,
]  # fmt: skip


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    """Pixels from where the matrix says, gray where there are none; from Pillow's corner, as the authors shear."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=GRAY)
