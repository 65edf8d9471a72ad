"""How what a picture holds becomes RGB: what is seen through transparency, and which values are black and white."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from nfft.config.task import Task, is_background
from nfft.errors import UserError
from nfft.text import shorten

# The values that are shown as black and as white.
Range = tuple[float, float]
# The entry of config.json.
ENTRY = "nfft_rendering"
# A depth of 8, 10, 12, 14 or 16 bits ends at one of these.
DEPTHS = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
# Floats are taken to reach to 1 or 255 where the brightest fills this share of it.
FILLED = 1 / 4
SIXTEEN_BITS = 65535
# Of the values of pictures that 8 bits do not hold.
KINDS = ("integers", "floats")


@dataclass(frozen=True)
class Rendering:
    """What is fixed about all pictures of a data set, so that each is shown alike, in training and ever after.

    Attributes:
        background: what transparent pictures lie on: "white", "black", "#rrggbb", or "none", which shows the colors
            that they hide.
        black, white: the values that are shown so, as the user says.
        integers, floats: the range of pictures of more than 8 bits that do not say theirs, as the data were found.
        max_pixels: larger pictures are not read; Pillow's limit when absent.
    """

    background: str = "white"
    black: float | None = None
    white: float | None = None
    integers: Range | None = None
    floats: Range | None = None
    max_pixels: int | None = None

    def to_json(self) -> dict[str, Any]:
        """What is other than usual of what a model's answers depend on."""
        entries = {name: getattr(self, name) for name in ("background", "black", "white", "integers", "floats")}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in entries.items()
            if value != getattr(PLAIN, name)
        }

    @property
    def of_integers(self) -> Range:
        """What is black and white in pictures of 16 bits that do not say it themselves."""
        black, white = self.integers or (0, SIXTEEN_BITS)
        return black if self.black is None else self.black, white if self.white is None else self.white

    @property
    def of_floats(self) -> Range | None:
        """The same of floats; None where each picture has a range of its own."""
        black, white = self.floats or (None, None)
        black = black if self.black is None else self.black
        white = white if self.white is None else self.white
        return None if black is None or white is None else (black, white)

    def changed_by(self, task: Task) -> "Rendering":
        """The same with what a task says otherwise."""
        said = {name: getattr(task, name) for name in ("background", "black", "white", "max_pixels")}
        return replace(self, **{name: value for name, value in said.items() if value is not None})


PLAIN = Rendering()


def rendering_from(name: str, entry: Any) -> Rendering:
    """The entry of a config.json, which may be a stranger's; as usual where there is none.

    Raises:
        UserError: when it is not as nfft writes it.
    """
    if entry is None:
        return PLAIN
    wrong = UserError(f"{name}: {ENTRY} in config.json is not as nfft writes it; found {shorten(repr(entry), 80)}.")
    if not isinstance(entry, Mapping) or not entry.keys() <= PLAIN.__dict__.keys() - {"max_pixels"}:
        raise wrong
    values = dict(entry)
    if not is_background(values.get("background", "white")):
        raise wrong
    for end in ("black", "white"):
        if not _is_value(values.get(end, 0)):
            raise wrong
    for kind in ("integers", "floats"):
        if kind not in values:
            continue
        ends = values[kind]
        if not isinstance(ends, list) or len(ends) != 2 or not all(map(_is_value, ends)):
            raise wrong
        values[kind] = tuple(ends)
    return Rendering(**values)


def _is_value(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e30


class Deep(NamedTuple):
    """A gray picture of more than 8 bits, or of signed ones.

    Attributes:
        values: (height, width), float.
        kind: "integers" or "floats".
        own: its range, by what the file says; None where it says nothing.
        usual: its range where nobody says anything.
        clear: which pixels are transparent, (height, width), bool; None where none can be.
    """

    values: np.ndarray
    kind: str
    own: Range | None
    usual: Range
    clear: np.ndarray | None = None

    @property
    def ends(self) -> Range:
        """The lowest and the highest value that is seen."""
        return ends_of(self.values if self.clear is None else self.values[~self.clear])


def deep(image: Image.Image) -> Deep | None:
    """The values of a loaded picture that 8 bits do not hold; None of any other."""
    if image.mode not in ("L", "I", "F") and not image.mode.startswith("I;16"):
        return None
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    bits = _first(tags, TiffImagePlugin.BITSPERSAMPLE)
    form = _first(tags, TiffImagePlugin.SAMPLEFORMAT)
    if image.mode == "L" and bits == 8 and form == 2:
        return Deep(np.asarray(image).view(np.int8).astype(np.float32), "integers", (-128, 127), (-128, 127))
    if image.mode == "L":
        return None
    pixels = np.asarray(image)
    if image.mode == "I" and bits == 32 and form in (None, 1):
        pixels = pixels.view(np.uint32)  # Pillow has no mode for these
    # Single precision holds 24 bits.
    values = pixels.astype(np.float64 if image.mode == "I" else np.float32)
    values = np.nan_to_num(values, copy=False, nan=0, posinf=0, neginf=0)
    low, high = ends_of(values)
    if image.mode == "F":
        return Deep(values, "floats", None, _range_of_floats(low, high))
    # Pillow has scaled these to 16 bits; older releases have no other mode for them.
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        usual = (low, high) if low < 0 else (0, 255) if high <= 255 else (0, max(SIXTEEN_BITS, high))
        return Deep(values, "integers", None, usual)
    says = [bits if bits is None or bits >= 16 else 2**bits - 1, _first(tags, 341), _first(tags, 281)]
    # Programs write the brightest value of a picture into the same tags as the end of its depth.
    own = next(((0, end) for end in says if end in DEPTHS or end in (511, 2047, 8191, 32767)), None)
    key = image.info.get("transparency")
    return Deep(values, "integers", own, (0, SIXTEEN_BITS), values == key if isinstance(key, int) else None)


def _first(tags: Any, tag: int) -> Any:
    value = tags.get(tag)
    return value[0] if isinstance(value, tuple) and value else value


def _range_of_floats(low: float, high: float) -> Range:
    """Of one picture alone."""
    return (low, high) if low < 0 else (0, 1) if high <= 1 else (0, max(255, high))


def ends_of(values: np.ndarray) -> Range:
    """The lowest and the highest value."""
    return (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)


def range_of_all(kind: str, low: float, high: float) -> Range:
    """The range of a data set, by its lowest and highest value: of integers, the depth that holds them all."""
    if low < 0:
        return low, high
    if kind == "floats":
        return 0.0, next((end for end in (1.0, 255.0) if end * FILLED < high <= end), high)
    return 0.0, float(next((end for end in DEPTHS if high <= end), high))


def as_rgb(image: Image.Image, rendering: Rendering) -> Image.Image:
    """A loaded picture in RGB."""
    values = deep(image)
    return _of_eight_bits(image, rendering) if values is None else gray_of(values, rendering)


def _of_eight_bits(image: Image.Image, rendering: Rendering) -> Image.Image:
    if image.has_transparency_data:
        image = _laid_on(image, rendering.background)
    image = image if image.mode == "RGB" else image.convert("RGB")
    black, white = rendering.black or 0, 255 if rendering.white is None else rendering.white
    if (black, white) == (0, 255) or white > 255:
        return image
    return image.point(_levels(np.arange(256, dtype=np.float32), (black, white)).tolist() * 3)


def gray_of(deep: Deep, rendering: Rendering) -> Image.Image:
    """A picture of many bits as one of 8, by the range that holds for it."""
    found = rendering.integers if deep.kind == "integers" else rendering.floats
    black, white = deep.own or found or deep.usual
    black = black if rendering.black is None else rendering.black
    white = white if rendering.white is None else rendering.white
    picture = Image.fromarray(_levels(deep.values, (black, white))).convert("RGB")
    if deep.clear is not None and rendering.background != "none":
        picture.paste(rendering.background, mask=Image.fromarray(deep.clear))
    return picture


def _levels(values: np.ndarray, ends: Range) -> np.ndarray:
    black, white = ends
    scale = 255 / (white - black) if white > black else 0.0
    return ((values - black) * scale).round().clip(0, 255).astype(np.uint8)


def _laid_on(image: Image.Image, background: str) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    whole = image.convert("RGBA")
    alpha = whole.getchannel("A")
    colors = whole.convert("RGB")
    if background == "none" or alpha.getextrema()[0] == 255:
        return colors
    ground = Image.new("RGB", image.size, background)
    ground.paste(colors, mask=alpha)
    return ground


class Seen(NamedTuple):
    """What a picture turned out to hold.

    Attributes:
        width, height: px, upright.
        is_flat: whether it is of one color.
        kind: "integers" or "floats" of more than 8 bits whose range the file does not say; "" of any other.
        low, high: of these, the lowest and highest value; else 0 and the brightest of 255, 255 where it is not dark.
        has_more: whether its file has further pages or frames.
    """

    width: int
    height: int
    is_flat: bool = False
    kind: str = ""
    low: float = 0.0
    high: float = 255.0
    has_more: bool = False


# Darker than this, the brightest value is looked for in all pixels, and few enough pictures are.
DARK = 64
# Where pixels are looked at before that, in parts of the sides: of most pictures a few say enough, and cost nothing.
FIRST = ((1 / 2, 1 / 2), (1 / 5, 1 / 3), (2 / 3, 1 / 5), (1 / 3, 4 / 5), (4 / 5, 3 / 5), (0, 0))
GLANCE = (16, 16)


def rendered(image: Image.Image, rendering: Rendering) -> tuple[Image.Image, Seen]:
    """A loaded picture in RGB, and what it holds."""
    if (values := deep(image)) is not None and values.own is None:
        (low, high), picture = values.ends, gray_of(values, rendering)
        is_flat = low == high if values.clear is None else _is_flat(picture.getextrema())
        return picture, Seen(*image.size, is_flat, values.kind, low, high)
    picture = _of_eight_bits(image, rendering) if values is None else gray_of(values, rendering)
    if _shows_at_first(picture):
        return picture, Seen(*picture.size)
    glance = picture.resize(GLANCE, Image.Resampling.NEAREST).getextrema()
    if _brightest(glance) >= DARK and not _is_flat(glance):
        return picture, Seen(*picture.size)
    whole = picture.getextrema()
    return picture, Seen(*picture.size, _is_flat(whole), "", 0.0, float(_brightest(whole)))


def _shows_at_first(picture: Image.Image) -> bool:
    """Whether a few pixels have two colors, and one is not dark."""
    width, height = picture.size
    pixels: Any = picture.load()
    colors = {pixels[int(x * width), int(y * height)] for x, y in FIRST}
    return len(colors) > 1 and max(map(max, colors)) >= DARK


def _brightest(bands: Any) -> int:
    return max(high for _, high in bands)


def _is_flat(bands: Any) -> bool:
    return all(low == high for low, high in bands)


def is_fraction(low: float, high: float, ends: Range) -> bool:
    """Whether values fill so little of a range that few shades are left."""
    black, white = ends
    return 0 < (high - low) < (white - black) / 16 or not math.isfinite(high - low)
