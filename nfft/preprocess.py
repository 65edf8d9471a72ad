"""Pictures in, square uint8 arrays out: decoding, training and evaluation views, mixing."""

import io
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageOps

from nfft.recipe import Recipe

Raw = bytes | str | np.ndarray | Image.Image


# Pictures of pixels: Pillow would hand PostScript in a file of any name to Ghostscript, which runs it.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF",
    "WEBP",
)  # fmt: skip
# Share of the picture that a training crop covers at least.
MIN_COVERED = 0.1
# Pixels of a crop for each one of its view, along a side, that a JPEG is decoded to at least.
ENOUGH = 2


class UnreadableImage(Exception):
    """An image file that is missing, empty, truncated or corrupt; the text says which."""


def decode(raw: Raw) -> Image.Image:
    """An RGB image, turned upright, from encoded bytes, a path, an array or an image of Pillow.

    Args:
        raw: bytes of a file, its path, an image, or an array (height, width) or (height, width, 3) of uint8.

    Raises:
        UnreadableImage: when no picture can be made of it.
    """
    with _reasons(), _opened(raw) as image:
        return _upright(image)


@contextmanager
def _reasons() -> Iterator[None]:
    try:
        yield
    # Damaged files raise anything in Pillow, from OSError and SyntaxError to struct.error.
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    # The rest of Pillow's sentence is the address of a buffer.
    return "cannot identify image file" if text.startswith("cannot identify image file") else text


def _opened(raw: Raw) -> AbstractContextManager[Image.Image]:
    """An image of Pillow's; of a file, no more than its header has been read."""
    if isinstance(raw, Image.Image):
        return nullcontext(ImageOps.exif_transpose(raw))
    if isinstance(raw, np.ndarray):
        if raw.dtype != np.uint8:
            raise ValueError(f"its values are {raw.dtype}, not uint8")
        return Image.fromarray(raw)
    if not raw:
        raise ValueError("the file is empty")
    Image.init()  # asked for formats by name, Pillow loads none by itself
    formats = [name for name in FORMATS if name in Image.OPEN]
    return Image.open(io.BytesIO(raw) if isinstance(raw, bytes) else raw, formats=formats)


def _upright(image: Image.Image) -> Image.Image:
    """The pixels of an opened image, in RGB; turned, if at all, in place."""
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns when a palette with transparency goes straight to RGB
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Rescale 16-bit and float pixels, which Pillow would clip to white."""
    pixels = np.nan_to_num(np.asarray(image).astype(np.float32), nan=0, posinf=0, neginf=0)
    brightest = pixels.max(initial=0)
    if image.mode == "F":
        scale = 255.0 if brightest <= 1 else 1.0 if brightest <= 255 else 255 / brightest
    elif image.mode.startswith("I;16"):
        scale = 255 / 65535
    else:
        scale = 1.0 if brightest <= 255 else 255 / max(65535, brightest)
    return Image.fromarray((pixels * scale).round().clip(0, 255).astype(np.uint8))


def train_view(raw: Raw, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """A random distorted-box crop, perhaps flipped, resized by bicubic interpolation that smooths what it shrinks.

    Args:
        raw: what `decode` takes.

    Returns:
        (train px, train px, 3), uint8.

    Raises:
        UnreadableImage: when no picture can be made of it.

    Differs: timm resizes with Pillow, which takes three times as long as torch, and looks beyond the crop's edge. The
        same crop of a photograph comes out alike: the mean difference is 0.02 of 255. The authors' TensorFlow call
        does not smooth.
    """
    if isinstance(raw, np.ndarray) and raw.dtype == np.uint8 and raw.shape[2:] == (3,):
        left, top, right, bottom = distorted_box(raw.shape[1], raw.shape[0], recipe, rng)
        crop = raw[top:bottom, left:right].copy()
    else:
        crop = _decoded_crop(raw, recipe, rng)
    pixels = torch.from_numpy(crop).unsqueeze(0).permute(0, 3, 1, 2)
    if recipe.flip and rng.random() < 0.5:
        pixels = pixels.flip(3)
    view = F.interpolate(pixels, size=(recipe.train_resolution,) * 2, mode="bicubic", antialias=True)
    return view.numpy()[0].transpose(1, 2, 0)


def _decoded_crop(raw: Raw, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """A random distorted-box crop; a JPEG is decoded at a half, a quarter or an eighth where that leaves ENOUGH pixels.

    A half takes half the time. On photographs, views differ from those of whole pictures by 1.2 of 255 on average and
    by 5 in one pixel of a hundred, less than Lanczos' filter in place of the bicubic one makes them, by 1.8; and the
    crop's edges move by up to a quarter of a pixel of the view.
    """
    with _reasons(), _opened(raw) as image:
        if image.format not in ("JPEG", "MPO"):
            image = _upright(image)
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        width, height = image.size[::-1] if turned else image.size
        left, top, right, bottom = box = distorted_box(width, height, recipe, rng)
        needed = ENOUGH * recipe.train_resolution / min(right - left, bottom - top)
        if needed < 1:
            image.draft(None, (math.ceil(needed * image.width), math.ceil(needed * image.height)))
        image = _upright(image)
    scale = image.width / width
    left, top, right, bottom = (round(edge * scale) for edge in box)
    return np.array(image.crop((left, top, right, bottom)))


def distorted_box(width: int, height: int, recipe: Recipe, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a random crop; a centre crop after ten misses.

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
    return _padded_centre(width, height, recipe.train_resolution)


def _padded_centre(width: int, height: int, side: int) -> tuple[int, int, int, int]:
    """The square in the middle that leaves out a margin of 32 px for every `side` px of it."""
    edge = max(1, int(min(width, height) * side / (side + 32)))
    left, top = (width - edge + 1) // 2, (height - edge + 1) // 2
    return left, top, left + edge, top + edge


def evaluation_view(image: Image.Image, resolution: int, margin: int) -> np.ndarray:
    """The whole image resized to resolution + margin on both sides, its centre cropped: uint8.

    Source: the authors' evaluation, arXiv 2102.06171, appendix; the aspect ratio is not kept.
    Differs: timm's default keeps it; what is saved asks timm for this one (crop_mode "squash"). Pillow's bicubic
        smooths what it shrinks, the authors' TensorFlow call does not.
    """
    resized = image.resize((resolution + margin,) * 2, Image.Resampling.BICUBIC)
    # timm and torchvision round half of an odd margin the same way.
    start = round(margin / 2)
    return np.array(resized)[start : start + resolution, start : start + resolution]


def mix_up(image: np.ndarray, partner: np.ndarray, alpha: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Blend `image` (h, w, 3) with `partner`; returns the share that is kept too, from Beta(alpha, alpha).

    The share is rounded to a multiple of 1/256, with which 16-bit integers blend exactly, in half the time of floats.
    """
    keep = round(256 * rng.beta(alpha, alpha))
    blended = np.multiply(image, keep, dtype=np.uint16)
    blended += np.multiply(partner, 256 - keep, dtype=np.uint16)
    blended += 128
    blended >>= 8
    return blended.astype(np.uint8), keep / 256


def cut_mix(image: np.ndarray, partner: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Paste a random box of `partner`, its area share uniform in [0, 1]; returns the share that is kept too."""
    height, width = image.shape[:2]
    cut = math.sqrt(1 - rng.uniform())
    h, w = int(height * cut), int(width * cut)
    y, x = rng.integers(height), rng.integers(width)
    top, bottom = max(0, y - h // 2), min(height, y + h // 2)
    left, right = max(0, x - w // 2), min(width, x + w // 2)
    mixed = image.copy()
    mixed[top:bottom, left:right] = partner[top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)
