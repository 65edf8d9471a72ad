"""Whatever a picture is stored as, it comes out upright, RGB and of the right size."""

import io
import math
import os
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from nfft.config.recipe import Recipe
from nfft.data.augment import cut_mix, distorted_box, mix_up, train_view
from nfft.data.decode import RawImage, UnreadableImage, decode, evaluation_view
from nfft.models.transforms import crop_share

RECIPE = Recipe(
    total_steps=1,
    warmup_fraction=0,
    batch_size=1,
    lr=0.1,
    weight_decay=0,
    clipping=None,
    ema_decay=None,
    train_resolution=24,
    test_resolution=24,
)


def picture(width: int = 12, height: int = 8, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pixels_of(raw: bytes | str | np.ndarray) -> np.ndarray:
    image = decode(raw)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_rgb_is_exact_from_bytes_path_and_array(tmp_path: Path) -> None:
    expected = np.asarray(picture())
    path = tmp_path / "é ü.png"
    path.write_bytes(encoded(picture()))
    for raw in (encoded(picture()), str(path), expected):
        np.testing.assert_array_equal(pixels_of(raw), expected)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_gray(mode: str) -> None:
    gray = picture().convert("L")
    stored = gray.convert(mode)
    expected = np.asarray(stored.convert("L"))
    actual = pixels_of(encoded(stored))
    for channel in range(3):
        np.testing.assert_array_equal(actual[..., channel], expected)


def test_gray_array() -> None:
    gray = np.asarray(picture().convert("L"))
    np.testing.assert_array_equal(pixels_of(gray), np.repeat(gray[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("PNG", {"transparency": bytes([255] * 16)}),
        ("GIF", {}),
    ],
)
def test_palette(form: str, options: dict) -> None:
    stored = picture().quantize(16)
    expected = np.asarray(stored.convert("RGB"))
    np.testing.assert_array_equal(pixels_of(encoded(stored, form, **options)), expected)


def test_opaque_rgba_keeps_its_colors() -> None:
    np.testing.assert_array_equal(pixels_of(encoded(picture().convert("RGBA"))), np.asarray(picture()))


def test_cmyk_jpeg() -> None:
    plain = Image.new("RGB", (16, 16), (200, 40, 90))
    actual = pixels_of(encoded(plain.convert("CMYK"), "JPEG", quality=100))
    assert np.abs(actual.astype(int) - [200, 40, 90]).max() <= 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int) -> None:
    # How each value says that the stored rows and columns are to be turned, in EXIF's own table.
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a[::-1].swapaxes(0, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a[:, ::-1].swapaxes(0, 1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    actual = pixels_of(encoded(picture(), exif=exif))
    np.testing.assert_array_equal(actual, turn(np.asarray(picture())))


def test_sixteen_bits_are_rescaled() -> None:
    values = np.linspace(0, 65535, 12 * 8).reshape(8, 12).astype(np.uint16)
    actual = pixels_of(encoded(Image.fromarray(values)))[..., 0]
    np.testing.assert_allclose(actual, values / 257, atol=0.51)


@pytest.mark.parametrize(("top", "factor"), [(1.0, 255.0), (255.0, 1.0), (1000.0, 0.255)])
def test_float_tiff_is_rescaled(top: float, factor: float) -> None:
    values = np.linspace(0, top, 12 * 8, dtype=np.float32).reshape(8, 12)
    actual = pixels_of(encoded(Image.fromarray(values), "TIFF"))[..., 0]
    np.testing.assert_allclose(actual, values * factor, atol=0.51)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="only Unix has pipes with names")
def test_what_is_no_file_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        for place, kind in (("pipe.png", "pipe"), ("s.png", "socket"), ("/dev/null", "device")):
            with pytest.raises(UnreadableImage, match=f"it is no file but a {kind}"):
                decode(str(tmp_path / place))


def test_unreadable(tmp_path: Path) -> None:
    jpeg = encoded(picture(64, 64), "JPEG")
    text = tmp_path / "notes.jpg"
    text.write_text("not an image")
    for raw, reason in [
        (b"", "the file is empty"),
        (jpeg[: len(jpeg) // 2], "truncated"),
        (b"not an image", "cannot identify image file"),
        (str(text), "cannot identify image file"),
        (str(tmp_path / "absent.png"), "No such file.*absent.png"),
        (str(tmp_path), "Is a directory"),
        (np.zeros((2, 2, 7), np.uint8), "."),
    ]:
        with pytest.raises(UnreadableImage, match=reason) as caught:
            decode(raw)
        assert "0x" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(12, 8), (300, 170), (1, 1), (1, 200)])
def test_train_view_depends_on_its_generator_alone(size: tuple[int, int]) -> None:
    image = picture(*size)
    views = [train_view(image, RECIPE, np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3)]
    for view in views:
        assert view.shape == (24, 24, 3)
        assert view.dtype == np.uint8
    np.testing.assert_array_equal(views[0], views[1])
    if 1 not in size:  # no crop of these has an aspect ratio that is allowed
        assert any(not np.array_equal(views[0], other) for other in views[2:])


def test_train_view_covers_the_asked_share() -> None:
    # Each pixel holds its own column or row, so the extremes of a view tell the box that it was cut from.
    side = 256
    ramp = np.zeros((side, side, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(side)[None], np.arange(side)[:, None]
    image = Image.fromarray(ramp)
    areas, aspects = [], []
    for seed in range(300):
        view = train_view(image, RECIPE, np.random.default_rng(seed)).astype(float)
        # A view's pixel centers leave out half a pixel of the view on each side.
        width, height = np.ptp(view[..., 0]) * 24 / 23, np.ptp(view[..., 1]) * 24 / 23
        areas.append(width * height / side**2)
        aspects.append(width / height)
    assert 0.06 < min(areas) < 0.15
    assert 0.85 < max(areas) <= 1.05
    assert 0.68 < min(aspects) < 0.85
    assert 1.2 < max(aspects) < 1.45


@pytest.mark.parametrize("side", [8, 24, 64])
@pytest.mark.parametrize("size", [(61, 40), (24, 90), (3, 4)])
def test_a_crop_is_resized_as_by_pillow(size: tuple[int, int], side: int) -> None:
    # Little contrast, so that nothing that overshoots is clipped between Pillow's two passes.
    pixels = np.asarray(picture(*size)) // 4 + 96
    image, recipe = Image.fromarray(pixels), replace(RECIPE, train_resolution=side, flip=False)
    for seed in range(10):
        crop = image.crop(distorted_box(*size, recipe, np.random.default_rng(seed), recipe.train_resolution))
        expected = np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC)).astype(int)
        for raw in (image, pixels):
            np.testing.assert_allclose(train_view(raw, recipe, np.random.default_rng(seed)), expected, rtol=0, atol=2)


def views(raw: RawImage, count: int = 20) -> np.ndarray:
    return np.stack([train_view(raw, RECIPE, np.random.default_rng(seed)) for seed in range(count)]).astype(int)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_a_file_gives_the_views_of_its_pixels(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = encoded(picture(50, 40), form, exif=exif)
    np.testing.assert_array_equal(views(raw), views(pixels_of(raw)))


@pytest.mark.parametrize("form", ["JPEG", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_is_decoded_smaller_and_looks_the_same(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    large = picture().resize((480, 319), Image.Resampling.BICUBIC)
    raw = encoded(large, form, exif=exif, quality=95)
    difference = np.abs(views(raw) - views(pixels_of(raw)))
    assert difference.any(axis=(1, 2, 3)).mean() > 0.8
    assert difference.mean() < 4


def test_a_jpeg_is_not_decoded_to_less_than_twice_its_view(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = []
    crop = Image.Image.crop

    def noted(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
        cut.append(crop(image, box))
        return cut[-1]

    raw = encoded(picture().resize((480, 319)), "JPEG")
    monkeypatch.setattr(Image.Image, "crop", noted)
    views(raw, 100)
    shorter = [min(crop.size) for crop in cut]
    # A crop of a tenth of the picture has some 110 px a side.
    assert min(shorter) >= 48 and max(shorter) < 100


def boxes(width: int, height: int, count: int, **settings: float) -> np.ndarray:
    """Left, top, right and bottom of `count` training crops."""
    rng = np.random.default_rng(0)
    recipe = replace(RECIPE, **settings)
    return np.array([distorted_box(width, height, recipe, rng, recipe.train_resolution) for _ in range(count)])


def tensorflows_boxes(width: int, height: int, count: int, crop_area: float, crop_aspect: float) -> np.ndarray:
    """The same by the rule of TensorFlow's sample_distorted_bounding_box, with the authors' crop where it finds none.

    But for what rounding brings below the smallest area: TensorFlow enlarges it by one px, here it is drawn again. At
    the authors' smallest area, 0.08, it covers less than a tenth then too, and is drawn again there as well.
    """
    rng = np.random.default_rng(1)
    return np.array([tensorflows_box(width, height, crop_area, crop_aspect, rng) for _ in range(count)])


def tensorflows_box(
    width: int, height: int, crop_area: float, crop_aspect: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    for _ in range(10):
        aspect = 1 / crop_aspect + rng.random() * (crop_aspect - 1 / crop_aspect)
        h = round(math.sqrt(crop_area * width * height / aspect))
        highest = round(math.sqrt(width * height / aspect))
        while round(highest * aspect) > width or highest > height:
            highest -= 1
        h = min(h, highest)
        h += int(rng.random() * (highest - h + 1))
        w = round(h * aspect)
        share = w * h / (width * height)
        if w <= width and h <= height and crop_area <= share <= 1 and share >= 0.1:
            left = int(rng.random() * (width - w))
            top = int(rng.random() * (height - h))
            return left, top, left + w, top + h
    side = RECIPE.train_resolution
    edge = int(min(width / (side + 32), height / (side + 32)) * side)
    left, top = (width - edge + 1) // 2, (height - edge + 1) // 2
    return left, top, left + edge, top + edge


def measures(cut: np.ndarray) -> dict[str, np.ndarray]:
    left, top, right, bottom = cut.T
    w, h = right - left, bottom - top
    return {"area": w * h, "aspect": w / h, "width": w, "height": h, "left": left, "top": top}


SIZES = [(500, 375), (375, 500), (64, 64), (32, 32), (90, 40), (20, 33)]


@pytest.mark.parametrize("crop_area", [0.05, 0.08, 0.3])
@pytest.mark.parametrize("size", SIZES)
def test_crops_keep_their_bounds(size: tuple[int, int], crop_area: float) -> None:
    width, height = size
    cut = boxes(width, height, 1000, crop_area=crop_area, crop_aspect=1.5)
    left, top, right, bottom = cut.T
    assert (left >= 0).all() and (left < right).all() and (right <= width).all()
    assert (top >= 0).all() and (top < bottom).all() and (bottom <= height).all()
    w, h = right - left, bottom - top
    assert (w * h >= max(crop_area, 0.1) * width * height).all()
    assert (w * h).min() < 1.4 * max(crop_area, 0.1) * width * height
    # A width is a whole number of px.
    assert ((w - 0.5) / h <= 1.5).all() and ((w + 0.5) / h >= 1 / 1.5).all()


@pytest.mark.parametrize(("crop_area", "crop_aspect"), [(0.08, 4 / 3), (0.3, 2.0), (0.5, 4 / 3)])
@pytest.mark.parametrize("size", SIZES)
def test_crops_are_distributed_as_tensorflows(size: tuple[int, int], crop_area: float, crop_aspect: float) -> None:
    count = 4000
    ours = measures(boxes(*size, count, crop_area=crop_area, crop_aspect=crop_aspect))
    theirs = measures(tensorflows_boxes(*size, count, crop_area, crop_aspect))
    for name, values in ours.items():
        at = np.union1d(values, theirs[name])
        shares = [np.searchsorted(np.sort(draws), at, side="right") / count for draws in (values, theirs[name])]
        # Kolmogorov and Smirnov's distance: of two samples from one distribution, one pair in 1,000 is further apart.
        assert np.abs(shares[0] - shares[1]).max() < 1.95 * math.sqrt(2 / count), name


def test_crops_cover_as_much_as_is_said() -> None:
    cut = measures(boxes(500, 375, 4000))
    assert cut["area"].mean() / (500 * 375) == pytest.approx(0.39, abs=0.01)


@pytest.mark.parametrize(("size", "box"), [((300, 20), (146, 6, 154, 14)), ((20, 300), (6, 146, 14, 154))])
def test_an_elongated_picture_is_cropped_in_its_middle(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    # The largest crop of an allowed aspect covers less than a tenth. 24 of 56 px of the shorter side are 8.
    np.testing.assert_array_equal(boxes(*size, 20), [box] * 20)


def test_a_full_crop_of_a_square_is_the_whole_picture() -> None:
    np.testing.assert_array_equal(boxes(50, 50, 5, crop_area=1, crop_aspect=1), [(0, 0, 50, 50)] * 5)


def test_flips_half_of_the_time_when_asked() -> None:
    ramp = Image.fromarray(np.repeat(np.arange(100, dtype=np.uint8)[None, :, None], 100, axis=0).repeat(3, axis=2))

    def flipped(flip: bool) -> float:
        recipe = Recipe(**{**vars(RECIPE), "flip": flip})
        views = [train_view(ramp, recipe, np.random.default_rng(seed)) for seed in range(200)]
        return float(np.mean([view[0, 0, 0] > view[0, -1, 0] for view in views]))

    assert 0.4 < flipped(True) < 0.6
    assert flipped(False) == 0


@pytest.mark.parametrize(("resolution", "margin"), [(160, 32), (64, 0), (48, 5), (33, 32), (32, 7), (224, 1)])
@pytest.mark.parametrize("size", [(300, 180), (31, 47), (1, 9)])
def test_evaluation_view_is_timms(resolution: int, margin: int, size: tuple[int, int]) -> None:
    image = picture(*size)
    timms = create_transform(
        (3, resolution, resolution),
        crop_pct=crop_share(resolution, margin),
        crop_mode="squash",
        interpolation="bicubic",
        normalize=False,
    )
    view = evaluation_view(image, resolution, margin)
    assert view.dtype == np.uint8
    np.testing.assert_array_equal(view, timms(image).permute(1, 2, 0).numpy())


def test_cut_mix_share_is_that_of_the_pixels() -> None:
    image, partner = np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)
    shares = []
    for seed in range(300):
        mixed, share = cut_mix(image, partner, np.random.default_rng(seed))
        assert share == pytest.approx((mixed[..., 0] == 0).mean(), abs=1e-9)
        assert set(np.unique(mixed)) <= {0, 255}
        shares.append(share)
    assert not image.any()
    assert min(shares) < 0.25
    assert max(shares) > 0.95


def test_cut_mix_pastes_from_the_same_place() -> None:
    image, partner = np.asarray(picture(30, 20)), np.asarray(picture(30, 20, seed=1))
    mixed, _ = cut_mix(image, partner, np.random.default_rng(0))
    of_either = (mixed == image).all(-1) | (mixed == partner).all(-1)
    assert of_either.all()
    rows, columns = np.nonzero((mixed != image).any(-1))
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_mix_up_blends_by_the_share_it_keeps() -> None:
    image, partner = np.asarray(picture(30, 20)), np.asarray(picture(30, 20, seed=1))
    for seed in range(20):
        mixed, share = mix_up(image, partner, 1.0, np.random.default_rng(seed))
        assert mixed.dtype == np.uint8
        expected = share * image.astype(float) + (1 - share) * partner
        # Half a step of rounding, and what single precision adds to it.
        np.testing.assert_allclose(mixed, expected, rtol=0, atol=0.501)
    np.testing.assert_array_equal(image, np.asarray(picture(30, 20)))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mix_up_draws_its_share_from_a_beta_distribution(alpha: float) -> None:
    image, partner = np.full((1, 1, 3), 255, np.uint8), np.zeros((1, 1, 3), np.uint8)
    rng = np.random.default_rng(0)
    drawn = [mix_up(image, partner, alpha, rng) for _ in range(4000)]
    shares = np.array([share for _, share in drawn])
    np.testing.assert_allclose([mixed[0, 0, 0] for mixed, _ in drawn], 255 * shares, rtol=0, atol=0.501)
    assert 0 <= shares.min() < shares.max() <= 1
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_dark_16_bit_frames_stay_dark() -> None:
    for brightest in (200, 256, 40_000):
        file = io.BytesIO()
        Image.fromarray(np.full((4, 4), brightest, np.uint16)).save(file, "PNG")
        assert np.asarray(decode(file.getvalue())).max() == round(brightest * 255 / 65535)


def test_a_float_picture_with_holes_is_not_black() -> None:
    file = io.BytesIO()
    pixels = np.full((4, 4), 0.5, np.float32)
    pixels[0, 0] = np.nan
    Image.fromarray(pixels).save(file, "TIFF")
    assert np.asarray(decode(file.getvalue()))[1, 1, 0] == 128


def test_a_pointer_of_git_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UnreadableImage, match="git lfs pull"):
        decode(str(tmp_path / "a.png"))
