"""Training views: random crops and flips, what is done to each of them, MixUp and CutMix."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags

from nfft.config.recipe import Recipe
from nfft.data.color_jitter import jitter
from nfft.data.decode import RawImage, load_upright, open_image, rendering_of, unreadable_if_it_fails
from nfft.data.random_erasing import erase
from nfft.data.rendering import PLAIN, Rendering
from nfft.data.trivialaugment import distort_once

# Share of the picture that a training crop covers at least.
MIN_COVERED = 0.1
# Along a side, a JPEG is decoded to at least so many pixels of the crop for one of the view.
OVERSAMPLING = 2
# Settings of a recipe that decide what a view looks like: its crop, and how that is altered where it is.
CROPPED = ("train_resolution", "crop_area", "crop_aspect", "flip")
ALTERED = ("trivialaugment", "color_jitter", "random_erasing")


def train_view(
    raw: RawImage, recipe: Recipe, rng: np.random.Generator, rendering: Rendering = PLAIN, side: int | None = None
) -> np.ndarray:
    """A random distorted-box crop, perhaps flipped, resized by bicubic interpolation that smooths what it shrinks.

    Then altered, if the recipe asks for that.

    Args:
        raw, rendering: what `decode` takes; of three channels in memory already, nothing is left to be rendered.
        side: of the view, in px; the recipe's train_resolution when absent.

    Returns:
        (side, side, 3), uint8.

    Raises:
        UnreadableImage: when there is no picture in it.

    Differs: timm resizes with Pillow, which takes three times as long as torch, and looks beyond the crop's edge. The
        same crop of a photograph comes out alike: the mean difference is 0.02 of 255. The authors' TensorFlow call
        does not smooth.
    """
    side = side or recipe.train_resolution
    if isinstance(raw, np.ndarray) and raw.dtype == np.uint8 and raw.shape[2:] == (3,):
        left, top, right, bottom = distorted_box(raw.shape[1], raw.shape[0], recipe, rng, side)
        crop = raw[top:bottom, left:right].copy()
    else:
        crop = _decoded_crop(raw, recipe, rng, rendering_of(raw, rendering), side)
    pixels = torch.from_numpy(crop).unsqueeze(0).permute(0, 3, 1, 2)
    if recipe.flip and rng.random() < 0.5:
        pixels = pixels.flip(3)
    resized = F.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True)
    view = resized.numpy()[0].transpose(1, 2, 0)
    alter(view, recipe, rng)
    return view


def alter(view: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> None:
    """TrivialAugment, color jitter and random erasing, in timm's order, where the recipe has them.

    Args:
        view: (side, side, 3), uint8; changed in place.
    """
    if recipe.trivialaugment:
        view[:] = distort_once(view, rng)
    if recipe.color_jitter is not None:
        view[:] = jitter(view, recipe.color_jitter, rng)
    if recipe.random_erasing is not None and rng.random() < recipe.random_erasing:
        erase(view, rng)


def _decoded_crop(
    raw: RawImage, recipe: Recipe, rng: np.random.Generator, rendering: Rendering, side: int
) -> np.ndarray:
    """A random distorted-box crop; a JPEG is decoded at a half, a quarter or an eighth where its OVERSAMPLING allows.

    A half takes half the time. On photographs, views differ from those of whole pictures by 1.2 of 255 on average and
    by 5 in one pixel of a hundred, less than Lanczos' filter in place of the bicubic one makes them, by 1.8; and the
    crop's edges move by up to a quarter of a pixel of the view.
    """
    with unreadable_if_it_fails(), open_image(raw, rendering) as image:
        is_jpeg = image.format in ("JPEG", "MPO")
        if not is_jpeg:
            image = load_upright(image, rendering)
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        width, height = image.size[::-1] if turned else image.size
        left, top, right, bottom = box = distorted_box(width, height, recipe, rng, side)
        needed = OVERSAMPLING * side / min(right - left, bottom - top)
        if is_jpeg and needed < 1:
            image.draft(None, (math.ceil(needed * image.width), math.ceil(needed * image.height)))
        if is_jpeg:
            image = load_upright(image, rendering)
    scale = image.width / width
    left, top, right, bottom = (round(edge * scale) for edge in box)
    return np.array(image.crop((left, top, right, bottom)))


def distorted_box(
    width: int, height: int, recipe: Recipe, rng: np.random.Generator, side: int
) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a random crop; a center crop after ten misses.

    The aspect ratio is drawn uniformly, then the height between those of the smallest and the largest area. Crops of
    less than a tenth of the picture are drawn again.

    Source: TensorFlow's sample_distorted_bounding_box, as the authors' `dataset.py` calls it.
    Differs: timm and torchvision draw the area uniformly and the logarithm of the aspect ratio, so that their crops
        are larger: 0.43 of a 500 x 375 picture on average, at areas from 0.08; these are 0.39.
    """
    smallest, largest = max(recipe.crop_area, MIN_COVERED) * width * height, width * height
    for _ in range(10):
        aspect = 1 / recipe.crop_aspect + rng.random() * (recipe.crop_aspect - 1 / recipe.crop_aspect)
        lowest = round(math.sqrt(recipe.crop_area * largest / aspect))
        highest = min(round(math.sqrt(largest / aspect)), int((width + 0.5) / aspect), height)
        h = lowest + int(rng.random() * (highest + 1 - lowest)) if lowest < highest else highest
        w = round(h * aspect)
        if 0 < w <= width and h > 0 and smallest <= w * h <= largest:
            left, top = int(rng.random() * (width - w)), int(rng.random() * (height - h))
            return left, top, left + w, top + h
    return _padded_center(width, height, side)


def _padded_center(width: int, height: int, side: int) -> tuple[int, int, int, int]:
    """The square in the middle that leaves out a margin of 32 px for every `side` px of it."""
    edge = max(1, int(min(width, height) * side / (side + 32)))
    left, top = (width - edge + 1) // 2, (height - edge + 1) // 2
    return left, top, left + edge, top + edge


def mix_up(image: np.ndarray, partner: np.ndarray, alpha: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Blend `image` (h, w, 3) with `partner`; returns the share of `image`, too, which is from Beta(alpha, alpha).

    The share is rounded to a multiple of 1/256, with which 16-bit integers blend exactly, in half the time of floats.
    """
    keep = round(256 * rng.beta(alpha, alpha))
    blended = np.multiply(image, keep, dtype=np.uint16)
    blended += np.multiply(partner, 256 - keep, dtype=np.uint16)
    blended += 128
    blended >>= 8
    return blended.astype(np.uint8), keep / 256


def cut_mix(image: np.ndarray, partner: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Paste a random box of `partner`, its area share uniform in [0, 1]; returns the share of `image` left, too."""
    height, width = image.shape[:2]
    cut = math.sqrt(1 - rng.uniform())
    h, w = int(height * cut), int(width * cut)
    y, x = rng.integers(height), rng.integers(width)
    top, bottom = max(0, y - h // 2), min(height, y + h // 2)
    left, right = max(0, x - w // 2), min(width, x + w // 2)
    mixed = image.copy()
    mixed[top:bottom, left:right] = partner[top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
