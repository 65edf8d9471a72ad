"""RandAugment: each operation is what its formula says, written out here once more in NumPy."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from nfft.data import randaugment
from nfft.data.randaugment import OPERATIONS, Operation, blanks, distort

# The paper's magnitudes, and two more.
LEVELS = [0.3, 0.47, 0.5, 1.0, 1.5]
NAMES = [operation.__name__ for operation in OPERATIONS]


def noise(width: int, height: int, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(width * height).integers(low, high, size=(height, width, 3), dtype=np.uint8)


def smooth(width: int, height: int) -> np.ndarray:
    """Few, unevenly frequent values, from above 0 to below 255, another range in each channel."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.stack([40 + 150 * x * y, 90 + 100 * x**3, 17 + 60 * y], axis=-1).astype(np.uint8)


PICTURES = {
    "noise": noise(24, 16),
    "smooth": smooth(40, 30),
    "large": smooth(70, 65),
    "few pixels": noise(9, 7),
    "flat": np.full((12, 30, 3), (7, 200, 128), np.uint8),
    "two values": np.where(noise(32, 20) < 250, 30, 31).astype(np.uint8),
}


def apply(operation: Operation, pixels: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    return np.asarray(operation(Image.fromarray(pixels), level, np.random.default_rng(seed)))


def blend(plain: np.ndarray, pixels: np.ndarray, level: float) -> np.ndarray:
    """Between `plain` and the picture, or beyond the picture; the fraction is cut off."""
    factor = 1.8 * level + 0.1
    return np.trunc(np.clip(plain + factor * (pixels - plain), 0, 255))


def auto_contrast(pixels: np.ndarray, level: float) -> np.ndarray:
    stretched = pixels.astype(float)
    for channel in range(3):
        low, high = pixels[..., channel].min(), pixels[..., channel].max()
        if low < high:
            scale = 255 / (float(high) - float(low))
            stretched[..., channel] = np.clip(pixels[..., channel] * scale - low * scale, 0, 255)
    return np.trunc(stretched)


def equalize(pixels: np.ndarray, level: float) -> np.ndarray:
    even = pixels.copy()
    for channel in range(3):
        counts = np.bincount(pixels[..., channel].ravel(), minlength=256)
        step = (counts.sum() - counts[counts > 0][-1]) // 255
        if step:
            below = np.concatenate([[0], np.cumsum(counts)[:-1]])
            even[..., channel] = np.minimum(255, (below + step // 2) // step)[pixels[..., channel]]
    return even


def invert(pixels: np.ndarray, level: float) -> np.ndarray:
    return 255 - pixels


def posterize(pixels: np.ndarray, level: float) -> np.ndarray:
    width = 2 ** (8 - int(level * 4))
    return pixels // width * width


def solarize(pixels: np.ndarray, level: float) -> np.ndarray:
    return np.where(pixels < int(level * 256), pixels, 255 - pixels)


def solarize_add(pixels: np.ndarray, level: float) -> np.ndarray:
    return np.where(pixels < 128, np.minimum(255, pixels.astype(int) + int(level * 110)), pixels)


def color(pixels: np.ndarray, level: float) -> np.ndarray:
    return blend(np.round(pixels @ [0.299, 0.587, 0.114])[..., None], pixels.astype(float), level)


def contrast(pixels: np.ndarray, level: float) -> np.ndarray:
    height, width, _ = pixels.shape
    return blend(np.full(pixels.shape, min(255, width * height // 256)), pixels.astype(float), level)


def brightness(pixels: np.ndarray, level: float) -> np.ndarray:
    return blend(np.zeros(pixels.shape), pixels.astype(float), level)


def sharpness(pixels: np.ndarray, level: float) -> np.ndarray:
    """Away from the mean of a pixel (weight 5) and its eight neighbors; the border stays as it is."""
    height, width, _ = pixels.shape
    blurred = pixels.astype(float)
    total = 4 * pixels[1:-1, 1:-1].astype(float)
    for down in range(3):
        for right in range(3):
            total += pixels[down : height - 2 + down, right : width - 2 + right]
    blurred[1:-1, 1:-1] = np.floor(total / 13 + 0.5)
    return blend(blurred, pixels.astype(float), level)


FORMULAS = {
    formula.__name__: formula
    for formula in (
        *(auto_contrast, equalize, invert, posterize, solarize, solarize_add),
        *(color, contrast, brightness, sharpness),
    )
}
# Gray is a weighted sum, and its rounding is stretched by as much as the blend goes beyond the picture.
TOLERANCE = {"color": 2, "contrast": 1, "brightness": 1, "sharpness": 2}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("name", FORMULAS)
def test_colors(name: str, picture: str, level: float) -> None:
    pixels = PICTURES[picture]
    actual, expected = apply(getattr(randaugment, name), pixels, level), FORMULAS[name](pixels, level)
    tolerance = TOLERANCE.get(name, 0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)
    if tolerance and picture in ("noise", "smooth", "large"):
        assert (actual == expected).mean() > 0.97, "but for rounding it is the formula"


def test_the_gray_of_contrast_is_by_size() -> None:
    # Whatever is in the picture: a black one shows the gray alone, at a factor of 0.64.
    for side, gray in ((16, 1), (192, 144), (224, 196), (256, 255), (300, 255)):
        actual = apply(randaugment.contrast, np.zeros((side, side, 3), np.uint8), 0.3)
        assert set(np.unique(actual)) == {int(gray * 0.36)}


def test_magnitude_5_leaves_the_enhancing_operations_out() -> None:
    for pixels in PICTURES.values():
        for operation in (randaugment.color, randaugment.contrast, randaugment.brightness, randaugment.sharpness):
            np.testing.assert_array_equal(apply(operation, pixels, 0.5), pixels)


def test_posterize_never_takes_every_bit() -> None:
    for level in (0.01, 0.12, 0.25, 0.49):
        assert set(np.unique(apply(randaugment.posterize, PICTURES["noise"], level))) == {0, 128}
    for level in (2.0, 3.0):
        np.testing.assert_array_equal(apply(randaugment.posterize, PICTURES["noise"], level), PICTURES["noise"])


def moved(
    pixels: np.ndarray, a: float, b: float, c: float, d: float, e: float, f: float
) -> tuple[np.ndarray, np.ndarray]:
    """Each pixel from the nearest to where it is mapped, 128 outside; and where no two are equally near."""
    height, width, _ = pixels.shape
    out, clear = np.full(pixels.shape, 128, np.uint8), np.ones((height, width), bool)
    for y in range(height):
        for x in range(width):
            nearest = []
            for value in (a * x + b * y + c, d * x + e * y + f):
                clear[y, x] &= abs(value % 1 - 0.5) > 1e-3
                nearest.append(int(math.copysign(math.floor(abs(value) + 0.5), value)))
            column, row = nearest
            if 0 <= column < width and 0 <= row < height:
                out[y, x] = pixels[row, column]
    assert clear.mean() > 0.7
    return out, clear


def rotation(width: int, height: int, degrees: float) -> tuple[float, ...]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = (width - 1) / 2, (height - 1) / 2
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


# Of an operation: the size of a picture that it does not move out of sight, and its map at a level.
MOVES: dict[str, tuple[tuple[int, int], Callable[[float], tuple[float, ...]]]] = {
    "shear_x": ((23, 16), lambda level: (1, 0.3 * level, 0, 0, 1, 0)),
    "shear_y": ((23, 16), lambda level: (1, 0, 0, 0.3 * level, 1, 0)),
    "translate_x": ((190, 4), lambda level: (1, 0, 100 * level, 0, 1, 0)),
    "translate_y": ((4, 190), lambda level: (1, 0, 0, 0, 1, 100 * level)),
    "rotate": ((22, 17), lambda level: rotation(22, 17, 30 * level)),
}


@pytest.mark.parametrize("level", [0.123, *LEVELS])
@pytest.mark.parametrize("name", MOVES)
def test_moves(name: str, level: float) -> None:
    size, mapping = MOVES[name]
    pixels = noise(*size, high=120)
    actual = [apply(getattr(randaugment, name), pixels, level, seed) for seed in range(9)]
    assert len({image.tobytes() for image in actual}) == 2, "one way or the other"
    expected = [moved(pixels, *mapping(sign * level)) for sign in (1, -1)]
    for picture, clear in expected:
        assert any(np.array_equal(image[clear], picture[clear]) for image in actual)
        assert (picture != pixels).any()


@pytest.mark.parametrize("name", MOVES)
def test_moves_go_either_way_equally_often(name: str) -> None:
    pixels = noise(60, 60)
    seen = Counter(apply(getattr(randaugment, name), pixels, 0.47, seed).tobytes() for seed in range(300))
    assert len(seen) == 2
    assert min(seen.values()) > 115


@pytest.mark.parametrize(("level", "pad"), [(0.11, 4), (0.5, 20), (1.0, 40)])
def test_cutout(level: float, pad: int) -> None:
    width, height = 60, 50
    pixels = noise(width, height, high=120)
    centers = {
        (max(0, x - pad), max(0, y - pad), min(width, x + pad), min(height, y + pad)): (x, y)
        for x in range(width)
        for y in range(height)
    }
    columns, rows = [], []
    for seed in range(600):
        cut = apply(randaugment.cutout, pixels, level, seed)
        hidden = (cut == 128).all(axis=-1)
        left, right = np.flatnonzero(hidden.any(axis=0))[[0, -1]]
        top, bottom = np.flatnonzero(hidden.any(axis=1))[[0, -1]]
        assert hidden.sum() == (right - left + 1) * (bottom - top + 1), "one box"
        assert (left, top, right + 1, bottom + 1) in centers, "around a pixel of the picture, clipped at its borders"
        np.testing.assert_array_equal(cut[~hidden], pixels[~hidden])
        columns.append(left + right)
        rows.append(top + bottom)
    assert np.mean(columns) / 2 == pytest.approx((width - 1) / 2, abs=2), "as often left as right"
    assert np.mean(rows) / 2 == pytest.approx((height - 1) / 2, abs=2)
    if pad == 4:
        # Far from the borders a box is whole, and its center can be told: each column as often as the next.
        whole = [column for column in columns if pad < column / 2 < width - pad - 1]
        assert np.std(whole) / 2 == pytest.approx((width - 2 * pad) / math.sqrt(12), rel=0.1)


@pytest.mark.parametrize("magnitude", [0.5, 1.2, 5, 10, 15, 30])
@pytest.mark.parametrize("operation", OPERATIONS, ids=NAMES)
def test_every_operation_keeps_shape_and_type(operation: Operation, magnitude: float) -> None:
    for size in ((1, 1), (3, 70), (40, 32)):
        image = Image.fromarray(noise(*size))
        before = image.tobytes()
        out = operation(image, magnitude / 10, np.random.default_rng(0))
        assert (out.mode, out.size) == ("RGB", size)
        assert image.tobytes() == before


@pytest.mark.parametrize("magnitude", [5, 10, 15])
def test_distort_depends_on_its_generator_alone(magnitude: float) -> None:
    view = noise(256, 192)
    before = view.copy()
    pictures = [distort(view, magnitude, 4, np.random.default_rng(seed)) for seed in (0, *range(10))]
    np.testing.assert_array_equal(view, before)
    np.testing.assert_array_equal(pictures[0], pictures[1])
    for picture in pictures:
        assert (picture.shape, picture.dtype) == (view.shape, np.uint8)
    assert len({picture.tobytes() for picture in pictures}) > 7


def test_distort_takes_mirrored_views() -> None:
    view = noise(20, 20)[:, ::-1]
    mirrored, copied = (distort(image, 5, 4, np.random.default_rng(3)) for image in (view, view.copy()))
    np.testing.assert_array_equal(mirrored, copied)


def test_operations_are_equally_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(NAMES) == sorted([*FORMULAS, *MOVES, "cutout"]), "each is tested above"
    counts: Counter = Counter()

    def counted(name: str) -> Operation:
        def operation(image: Image.Image, level: float, rng: np.random.Generator) -> Image.Image:
            assert level == 1.5
            counts[name] += 1
            return image

        return operation

    monkeypatch.setattr(randaugment, "OPERATIONS", [counted(name) for name in NAMES])
    rng, view = np.random.default_rng(0), noise(4, 4)
    for times in range(1, 2001):
        distort(view, 15, 4, rng)
        assert sum(counts.values()) == 4 * times, "each layer applies one operation"
    assert set(counts) == set(NAMES)
    # 500 on average, with a standard deviation of 22.
    assert min(counts.values()) > 420
    assert max(counts.values()) < 580


def test_layers_follow_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randaugment, "OPERATIONS", [randaugment.invert])
    view = noise(6, 5)
    for layers, expected in ((1, 255 - view), (2, view), (3, 255 - view)):
        np.testing.assert_array_equal(distort(view, 5, layers, np.random.default_rng(0)), expected)


@pytest.mark.parametrize(
    ("magnitude", "side", "whether"),
    [
        *((magnitude, side, False) for magnitude, side in
          ((5, 192), (10, 224), (10, 256), (15, 320), (15, 384), (15, 416), (15, 448), (15, 480))),
        (5, 48, True), (15, 192, True), (1.2, 48, False),
    ],
)  # fmt: skip
def test_blanks(magnitude: float, side: int, whether: bool) -> None:
    assert blanks(magnitude, side) is whether
