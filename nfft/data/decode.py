"""Image files in, upright RGB images out; and the view of one that is evaluated."""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
from PIL import Image, ImageOps

# The bytes of a file, its path, pixels, or an image of Pillow.
RawImage = bytes | str | np.ndarray | Image.Image

# Pictures of pixels: Pillow would hand PostScript in a file of any name to Ghostscript, which runs it.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF",
    "WEBP",
)  # fmt: skip


class UnreadableImage(Exception):
    """An image file that is missing, empty, truncated or corrupt; the text says which."""


def decode(raw: RawImage) -> Image.Image:
    """An RGB image, turned upright, from encoded bytes, a path, an array or an image of Pillow.

    Args:
        raw: bytes of a file, its path, an image, or an array (height, width) or (height, width, 3) of uint8.

    Raises:
        UnreadableImage: when there is no picture in it.
    """
    with unreadable_if_it_fails(), open_image(raw) as image:
        return load_upright(image)


@contextmanager
def unreadable_if_it_fails() -> Iterator[None]:
    """Turn whatever Pillow raises inside into UnreadableImage."""
    try:
        yield
    # Damaged files raise anything in Pillow, from OSError and SyntaxError to struct.error.
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    # The rest of Pillow's sentence is the address of a buffer.
    return "cannot identify image file" if text.startswith("cannot identify image file") else text


def open_image(raw: RawImage) -> AbstractContextManager[Image.Image]:
    """An image of Pillow's; of a file, no more than the header has been read."""
    if isinstance(raw, Image.Image):
        return nullcontext(ImageOps.exif_transpose(raw))
    if isinstance(raw, np.ndarray):
        if raw.dtype != np.uint8:
            raise ValueError(f"its values are {raw.dtype}, not uint8")
        return Image.fromarray(raw)
    if not raw:
        raise ValueError("the file is empty")
    Image.init()  # else Pillow knows few formats by name
    formats = [name for name in FORMATS if name in Image.OPEN]
    return Image.open(io.BytesIO(raw) if isinstance(raw, bytes) else raw, formats=formats)


def load_upright(image: Image.Image) -> Image.Image:
    """Read the pixels of an opened image; returns them in RGB, turned upright as its metadata say."""
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


def evaluation_view(image: Image.Image, resolution: int, margin: int) -> np.ndarray:
    """The whole image resized to resolution + margin on both sides, its center cropped: uint8.

    Source: the authors' evaluation, arXiv 2102.06171, appendix; the aspect ratio is not kept.
    Differs: timm's default keeps it; what is saved asks timm for this one (crop_mode "squash"). Pillow's bicubic
        smooths what it shrinks, the authors' TensorFlow call does not.
    """
    resized = image.resize((resolution + margin,) * 2, Image.Resampling.BICUBIC)
    # timm and torchvision round half of an odd margin the same way.
    start = round(margin / 2)
    return np.array(resized)[start : start + resolution, start : start + resolution]
