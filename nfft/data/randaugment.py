"""RandAugment as the paper applies it: layers of one random operation each, all at the same magnitude."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageOps

GRAY = (128, 128, 128)
# px at magnitude 10, whatever the size of the picture.
SHIFT, CUTOUT = 100, 40

Operation = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def distort(view: np.ndarray, magnitude: float, layers: int, rng: np.random.Generator) -> np.ndarray:
    """Apply `layers` operations, each drawn with equal probability out of OPERATIONS and always applied.

    Args:
        view: (height, width, 3), uint8.
        magnitude: strength of every operation; 5 is the paper's for 192 px, 10 to 256 px, 15 above.

    Source: arXiv 2102.06171, section 4.4; operations and their ranges are those of the authors' `autoaugment.py`.
    Differs: timm's RandAugment has no Cutout, applies each layer with probability one half, and moves by a share of
        the picture.
    """
    image = Image.fromarray(view)
    for operation in rng.integers(len(OPERATIONS), size=layers):
        image = OPERATIONS[operation](image, magnitude / 10, rng)
    return np.asarray(image)


def blanks(magnitude: float, side: int) -> bool:
    """Whether a picture of `side` px can lose more than half of itself in one operation: the paper's never do."""
    return SHIFT * magnitude / 10 > side / 2 or 2 * CUTOUT * magnitude / 10 > side / math.sqrt(2)


def auto_contrast(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return ImageOps.autocontrast(image)


def equalize(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return ImageOps.equalize(image)


def invert(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return ImageChops.invert(image)


def posterize(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    # The stronger the magnitude, the more bits are kept: the authors' code has it so. TensorFlow shifts by 7 at most.
    dropped = 8 - min(8, max(1, int(level * 4)))
    return image.point([value >> dropped << dropped for value in range(256)] * 3)


def solarize(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return ImageOps.solarize(image, int(level * 256))


def solarize_add(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    added = int(level * 110)
    return image.point([min(255, value + added) if value < 128 else value for value in range(256)] * 3)


def color(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _enhance(ImageEnhance.Color, image, level)


def contrast(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    """Away from, or toward, one gray.

    Differs: Pillow's gray is the picture's mean. The authors divide the sum of a histogram's counts by 256, which is
        the number of pixels over 256: 144 at 192 px, white from 256 px on.
    """
    gray = min(255, image.width * image.height // 256)
    return Image.blend(Image.new("RGB", image.size, (gray,) * 3), image, _factor(level))


def brightness(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _enhance(ImageEnhance.Brightness, image, level)


def sharpness(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _enhance(ImageEnhance.Sharpness, image, level)


def rotate(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    angle = math.radians(_random_sign(30 * level, rng))
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = (image.width - 1) / 2, (image.height - 1) / 2
    return _affine(image, cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)


def shear_x(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(image, 1, _random_sign(0.3 * level, rng), 0, 0, 1, 0)


def shear_y(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(image, 1, 0, 0, _random_sign(0.3 * level, rng), 1, 0)


def translate_x(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(image, 1, 0, _random_sign(SHIFT * level, rng), 0, 1, 0)


def translate_y(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    return _affine(image, 1, 0, 0, 0, 1, _random_sign(SHIFT * level, rng))


def cutout(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
    pad, x, y = int(level * CUTOUT), int(rng.integers(image.width)), int(rng.integers(image.height))
    cut = image.copy()
    cut.paste(GRAY, (max(0, x - pad), max(0, y - pad), min(image.width, x + pad), min(image.height, y + pad)))
    return cut


OPERATIONS: list[Operation] = [
    auto_contrast, equalize, invert, rotate, posterize, solarize, color, contrast, brightness, sharpness,
    shear_x, shear_y, translate_x, translate_y, cutout, solarize_add,
]  # fmt: skip


def _factor(level: float) -> float:
    """Of a blend with what lacks the property: below 1 less of it, above 1 more. Magnitude 5 changes nothing."""
    return 1.8 * level + 0.1


def _enhance(kind: Callable[[Image.Image], Any], image: Image.Image, level: float) -> Image.Image:
    # At magnitude 5, the paper's for 192 px, the slow filters would be blended in with weight 0.
    return image if _factor(level) == 1 else kind(image).enhance(_factor(level))


def _random_sign(value: float, rng: np.random.Generator) -> float:
    return value if rng.random() < 0.5 else -value


def _affine(image: Image.Image, a: float, b: float, c: float, d: float, e: float, f: float) -> Image.Image:
    """Pixel (x, y) becomes the one nearest to (a x + b y + c, d x + e y + f), gray where there is none."""
    # Pillow takes the pixel below (a (x + 1/2) + b (y + 1/2) + c, ...): pixels have their centers at halves.
    half = 0.5
    matrix = (a, b, c + half - half * (a + b), d, e, f + half - half * (d + e))
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=GRAY)
