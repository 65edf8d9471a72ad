"""Color jitter: brightness, contrast and saturation of an image, each changed by a random factor."""

import numpy as np
from PIL import Image, ImageEnhance

JITTERED = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def jitter(view: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Change the three in random order, each by a factor that is uniform from 1 - strength to 1 + strength.

    Args:
        view: (height, width, 3), uint8.
        strength: at most 1; timm's train.py has 0.4.

    Source: torchvision's ColorJitter, as timm's train.py calls it: hue stays.
    Differs: timm leaves it out where it applies RandAugment; here each setting is on or off by itself.
    """
    image = Image.fromarray(view)
    factors = rng.uniform(1 - strength, 1 + strength, len(JITTERED))
    for place in rng.permutation(len(JITTERED)):
        image = JITTERED[place](image).enhance(factors[place])
    return np.asarray(image)
