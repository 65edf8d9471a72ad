"""Image files in, upright RGB images out; and the view of one that is evaluated."""

import functools
import importlib.util
import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from nfft.data.rendering import PLAIN, Rendering, Seen, as_rgb, rendered

# The bytes of a file, its path, pixels, or an image of Pillow.
RawImage = bytes | str | np.ndarray | Image.Image

# Pictures of pixels: Pillow would hand PostScript in a file of any name to Ghostscript, which runs it.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF",
    "WEBP",
)  # fmt: skip

# Pillow warns of large pictures, with a path of its own, and refuses those of twice as many pixels in any case.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, append=True)
# What programs write beside the pixels may be long; Pillow ends at so many bytes for all texts of a picture anyway.
PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


@dataclass(frozen=True)
class PlugIn:
    """What teaches Pillow another format.

    Attributes:
        title, format: of the format, for people and for Pillow.
        package, module: what is installed, and what is imported of it.
        endings: of its files, in lower case.
    """

    title: str
    format: str
    package: str
    module: str
    endings: tuple[str, ...]

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None

    @property
    def advice(self) -> str:
        return f"pip install {self.package}"


HEIF = PlugIn("HEIC", "HEIF", "pillow-heif", "pillow_heif", (".heic", ".heics", ".heif", ".heifs", ".hif"))
JXL = PlugIn("JPEG XL", "JXL", "pillow-jxl-plugin", "pillow_jxl", (".jxl",))
PLUG_INS = (HEIF, JXL)
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
JXL_HEADS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a")


# What Git leaves in place of a file that it keeps elsewhere.
POINTER, HEAD = b"version https://git-lfs", 32


def plug_in_of(ending: str) -> PlugIn | None:
    """What reads files of this ending, if they take a plug-in."""
    return next((plug_in for plug_in in PLUG_INS if ending in plug_in.endings), None)


class UnreadableImage(Exception):
    """An image file that is missing, empty, truncated or corrupt; the text says which."""


@functools.cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow reads."""
    Image.init()  # else Pillow knows few formats by name
    return tuple(name for name in FORMATS if name in Image.OPEN)


def readers() -> str:
    """What reads pictures here, by name: with other readers, others can be read."""
    return " ".join(["Pillow", Image.__version__, *(one.package for one in PLUG_INS if one.is_installed)])


def decode(raw: RawImage, rendering: Rendering = PLAIN) -> Image.Image:
    """An RGB image, turned upright, from encoded bytes, a path, an array or an image of Pillow.

    Args:
        raw: bytes of a file, its path, an image, or an array of uint8: (height, width), or (height, width, channels)
            of 1, 3, or 4 channels, the fourth being opacity.
        rendering: what transparent pictures lie on, and which values of other depths are black and white.

    Raises:
        UnreadableImage: when there is no picture in it.
    """
    with unreadable_if_it_fails(), open_image(raw, rendering) as image:
        return load_upright(image, rendering_of(raw, rendering))


def examine(raw: RawImage, rendering: Rendering = PLAIN) -> tuple[Image.Image, Seen]:
    """The same, and what the picture turned out to hold."""
    with unreadable_if_it_fails(), open_image(raw, rendering) as image:
        _load(image)
        picture, seen = rendered(image, rendering_of(raw, rendering))
        return picture, seen._replace(has_more=True) if _has_more(image) else seen


def _has_more(image: Image.Image) -> bool:
    """Whether a file has further pages or frames; those of a camera's JPEG are previews of the same picture."""
    if image.format in (None, "JPEG", "MPO"):
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # there is one, and it is damaged
        return True


@contextmanager
def unreadable_if_it_fails() -> Iterator[None]:
    """Turn whatever Pillow raises inside into UnreadableImage."""
    try:
        yield
    # Damaged files raise anything in Pillow, from OSError and SyntaxError to struct.error.
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return _too_large(2 * (Image.MAX_IMAGE_PIXELS or 0))
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    # The rest of Pillow's sentence is the address of a buffer.
    return "cannot identify image file" if text.startswith("cannot identify image file") else text


def _too_large(limit: int) -> str:
    return f"it has more than {limit:,} pixels; max_pixels=... lets larger ones in"


def open_image(raw: RawImage, rendering: Rendering = PLAIN) -> AbstractContextManager[Image.Image]:
    """An image of Pillow's; of a file, no more than the header has been read."""
    if isinstance(raw, Image.Image):
        return nullcontext(ImageOps.exif_transpose(raw))
    if isinstance(raw, np.ndarray):
        if raw.dtype != np.uint8:
            raise ValueError(f"its values are {raw.dtype}, not uint8")
        return Image.fromarray(raw[..., 0] if raw.shape[2:] == (1,) else raw)
    if not raw:
        raise ValueError("the file is empty")
    if isinstance(raw, str):
        _check_regular(raw)
    limit = rendering.max_pixels
    if limit is not None and Image.MAX_IMAGE_PIXELS is not None:
        # Pillow has one limit for all of the process; it is only ever raised.
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limit)
    image = _opened(raw)
    if limit is not None and image.width * image.height > limit:
        image.close()
        raise ValueError(_too_large(limit))
    return image


def rendering_of(raw: RawImage, rendering: Rendering) -> Rendering:
    """How a picture is rendered: pixels in memory have their range already."""
    return Rendering(rendering.background) if isinstance(raw, np.ndarray) else rendering


def _check_regular(path: str) -> None:
    """Never wait for a pipe, and never read a device."""
    # Not through Path, which takes as long as all the rest.
    mode = os.stat(path).st_mode  # noqa: PTH116
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise ValueError(f"it is no file but {kind}")


def _opened(raw: bytes | str) -> Image.Image:
    def source() -> io.BytesIO | str:
        return io.BytesIO(raw) if isinstance(raw, bytes) else raw

    try:
        return Image.open(source(), formats=formats())
    except UnidentifiedImageError:
        head = _head_of(raw)
        if head.startswith(POINTER):
            raise ValueError("it is no more than a pointer of Git LFS: `git lfs pull` fetches the file") from None
        plug_in = _plug_in_for(head)
        if plug_in is None:
            raise
        if not _registered(plug_in):
            raise ValueError(f"it is {plug_in.title}, which takes a plug-in: {plug_in.advice}") from None
        return Image.open(source(), formats=[plug_in.format])


def _head_of(raw: bytes | str) -> bytes:
    """The first bytes of a file."""
    if isinstance(raw, bytes):
        return raw[:HEAD]
    with Path(raw).open("rb") as file:
        return file.read(HEAD)


def _plug_in_for(head: bytes) -> PlugIn | None:
    """What would read a file with these first bytes."""
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        return HEIF
    return JXL if head.startswith(JXL_HEADS) else None


@functools.cache
def _registered(plug_in: PlugIn) -> bool:
    """Tell Pillow of a plug-in, once in each process; whether there is one."""
    if not plug_in.is_installed:
        return False
    module = importlib.import_module(plug_in.module)
    if plug_in is HEIF:
        module.register_heif_opener()
    return plug_in.format in Image.OPEN


def load_upright(image: Image.Image, rendering: Rendering = PLAIN) -> Image.Image:
    """Read the pixels of an opened image; returns them in RGB, turned upright as its metadata say."""
    _load(image)
    return as_rgb(image, rendering)


def _load(image: Image.Image) -> None:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_planes(image)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)


def _check_planes(image: TiffImagePlugin.TiffImageFile) -> None:
    """Pillow (13.0) reads uncompressed colors of 16 bits in planes of their own as noise."""
    tags = image.tag_v2
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    raw = tags.get(TiffImagePlugin.COMPRESSION, 1) == 1
    if raw and tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2 and len(bits) > 1 and max(bits) > 8:
        raise ValueError("its colors of 16 bits lie in separate planes: store them together (tiffcp -p contig)")


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
