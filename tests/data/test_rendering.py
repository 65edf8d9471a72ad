"""What pictures hold stays to be seen: transparency, signed and float values, few bits in many; and it is stored."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, TiffImagePlugin
from PIL.PngImagePlugin import PngInfo

import nfft
from nfft.config.run_config import RunConfig
from nfft.config.task import Task
from nfft.data.augment import train_view
from nfft.data.decode import UnreadableImage, decode, examine
from nfft.data.rendering import PLAIN, Rendering, rendering_from
from nfft.data.scan import notes_on, rendering_for, scan_split
from nfft.data.splits import Split
from nfft.errors import UserError
from nfft.models.checkpoint import open_checkpoint
from nfft.training.plan import make_plan


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def shown(raw: bytes, rendering: Rendering = PLAIN) -> np.ndarray:
    return np.asarray(decode(raw, rendering))


def drawing(mode: str) -> Image.Image:
    """A black disc on nothing: left, a pixel is transparent; in the middle, opaque."""
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((8, 8, 24, 24), fill=(0, 0, 0, 255))
    if mode != "P":
        return image.convert(mode)
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([0, 0, 0, 1, 1, 1])
    palette.paste(1, mask=image.getchannel("A"))
    palette.info["transparency"] = 0
    return palette


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "GIF"])
def test_a_black_drawing_on_nothing_is_seen(mode: str, form: str) -> None:
    image = drawing(mode)
    if form == "TIFF" and mode == "P":
        pytest.skip("TIFF has no transparency in palettes")
    options = {"lossless": True} if form == "WEBP" else {}
    raw = encoded(image.convert("RGBA") if form in ("WEBP", "GIF") else image, form, **options)
    for background, color in (("white", 255), ("black", 0), ("#0000ff", None)):
        pixels = shown(raw, Rendering(background))
        assert pixels[16, 16].max() <= 1
        np.testing.assert_array_equal(pixels[0, 0], [0, 0, 255] if color is None else [color] * 3)
    assert shown(raw, Rendering("none")).max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_a_color_that_stands_for_nothing_lies_on_the_background(mode: str) -> None:
    image = Image.new("RGB", (4, 4), (0, 0, 0)).convert(mode)
    image.paste(Image.new("RGB", (2, 4), (255, 255, 255)).convert(mode))
    raw = encoded(image, transparency=(0, 0, 0) if mode == "RGB" else 0)
    assert shown(raw).min() == 255
    assert shown(raw, Rendering("black"))[:, 2:].max() == 0
    # Elsewhere in the file nothing is transparent.
    other = encoded(image, transparency=(9, 9, 9) if mode == "RGB" else 9) if mode != "1" else encoded(image)
    np.testing.assert_array_equal(shown(other), np.asarray(image.convert("RGB")))


def test_a_value_of_16_bits_that_stands_for_nothing_lies_on_the_background() -> None:
    values = np.array([[0, 1000, 2000, 65535]] * 2, np.uint16)
    raw = encoded(Image.fromarray(values), transparency=65535)
    assert shown(raw)[0, :, 0].tolist() == [0, 4, 8, 255]
    assert shown(raw, Rendering("#0000ff"))[0, 3].tolist() == [0, 0, 255]
    assert shown(raw, Rendering("none")).tolist() == shown(encoded(Image.fromarray(values))).tolist()
    # What nobody sees says nothing of the range.
    picture, seen = examine(raw, Rendering("black"))
    assert (seen.low, seen.high, seen.is_flat, picture.getpixel((3, 0))) == (0, 2000, False, (0, 0, 0))
    assert examine(encoded(Image.fromarray(values), transparency=9))[1].high == 65535
    assert examine(encoded(Image.new("I;16", (2, 2), 9), transparency=9))[1].is_flat


def test_half_transparency_blends() -> None:
    image = Image.new("RGBA", (2, 2), (200, 100, 0, 51))
    np.testing.assert_allclose(shown(encoded(image))[0, 0], [244, 224, 204], atol=1)


def tiff(values: np.ndarray, **tags: Any) -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[int(tag.removeprefix("t"))] = value
    return encoded(Image.fromarray(values), "TIFF", tiffinfo=info)


def signed(values: np.ndarray) -> bytes:
    """A TIFF of signed 16 bits, as scanners in hospitals write it."""
    # Pillow writes no such file: the tag of an unsigned one is changed.
    raw = tiff(values.astype(np.int16).view(np.uint16), t339=1)
    entry = raw.index(b"\x53\x01\x03\x00")
    return raw[: entry + 8] + b"\x02\x00" + raw[entry + 10 :]


def split_of(*images: bytes, rendering: Rendering = PLAIN, name: str = "some") -> Split:
    count = len(images)
    return Split("train", images, np.arange(count), np.zeros(count, int), f"{name} {images}", rendering)


def found(*images: bytes) -> tuple[Rendering, tuple[str, ...]]:
    split = split_of(*images)
    scan = scan_split(split, keeps=True)
    assert not scan.broken
    rendering = rendering_for(PLAIN, scan)
    return rendering, notes_on([(split, scan)], rendering)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_further_pages_and_frames_are_told(kind: str) -> None:
    first, second = (Image.new("L", (8, 8), shade) for shade in (90, 200))
    for image in (first, second):
        image.paste(255, (0, 0, 4, 4))
    several, alone = encoded(first, kind, save_all=True, append_images=[second]), encoded(first, kind)
    _, notes = found(alone, several, several)
    (line,) = notes
    assert line.startswith("2 of 3 pictures looked at (row 1, row 2) have further pages or frames")
    assert found(alone)[1] == ()
    np.testing.assert_allclose(shown(several), shown(alone), atol=8)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_few_bits_in_sixteen_are_shown_by_the_brightest_of_all(bits: int) -> None:
    top = 2**bits - 1
    bright, dark = np.linspace(0, top, 64).reshape(8, 8), np.linspace(0, top / 4, 64).reshape(8, 8)
    images = [encoded(Image.fromarray(values.astype(np.uint16))) for values in (bright, dark)]
    rendering, notes = found(*images)
    assert rendering.integers == (0, top)
    assert f"{top} as white" in notes[0] and "--set task.black=... and task.white=..." in notes[0]
    assert shown(images[0], rendering).max() == 255
    # Not each by its own brightest: the dark one stays dark.
    assert shown(images[1], rendering).max() == pytest.approx(64, abs=1)


def test_all_sixteen_bits_are_shown_as_ever() -> None:
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    rendering, _ = found(encoded(Image.fromarray(values)))
    np.testing.assert_allclose(
        shown(encoded(Image.fromarray(values)), rendering)[..., 0], values / 257, rtol=0, atol=0.501
    )


@pytest.mark.parametrize(("low", "high"), [(-1024, 3071), (-30000, -10), (-5, 5)])
def test_signed_values_are_shown_from_the_lowest_to_the_highest(low: int, high: int) -> None:
    raw = signed(np.linspace(low, high, 64).round().reshape(8, 8))
    rendering, _ = found(raw)
    assert rendering.integers == (low, high)
    for pixels in (shown(raw, rendering), shown(raw)):
        assert (pixels.min(), pixels.max()) == (0, 255)
        assert (np.diff(pixels[..., 0].ravel().astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [
        (0, 1, (0, 1)),
        (0, 0.9, (0, 1)),
        (0, 0.001, (0, 0.001)),
        (0, 200, (0, 255)),
        (-3, 4, (-3, 4)),
        (0, 1e6, (0, 1e6)),
    ],
)
def test_floats_are_shown_by_the_range_of_all(low: float, high: float, ends: tuple[float, float]) -> None:
    raw = encoded(Image.fromarray(np.linspace(low, high, 64, dtype=np.float32).reshape(8, 8)), "TIFF")
    rendering, _ = found(raw)
    assert rendering.floats == pytest.approx(ends)
    pixels = shown(raw, rendering)
    assert pixels.max() == pytest.approx(255 * (high - ends[0]) / (ends[1] - ends[0]), abs=1)
    assert len(np.unique(pixels)) > 32


def test_a_tiff_that_says_how_many_bits_it_has_is_taken_at_its_word() -> None:
    values = np.linspace(0, 900, 64).reshape(8, 8).astype(np.uint16)
    raw = tiff(values, t281=4095)
    assert shown(raw).max() == round(900 * 255 / 4095)
    # The brightest value of the picture alone says nothing of the others.
    assert shown(tiff(values, t281=900)).max() == round(900 * 255 / 65535)
    assert shown(raw, Rendering(white=900)).max() == 255


def test_what_the_user_says_goes_before() -> None:
    raw = encoded(Image.fromarray(np.linspace(0, 4000, 64).reshape(8, 8).astype(np.uint16)))
    split = split_of(raw, rendering=Rendering(black=1000, white=3000))
    rendering = rendering_for(split.rendering, scan_split(split))
    pixels = shown(raw, rendering)[..., 0].ravel()
    np.testing.assert_allclose(
        pixels, ((np.linspace(0, 4000, 64).astype(int) - 1000) / 2000 * 255).clip(0, 255), atol=1
    )
    dim = encoded(Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)))
    assert shown(dim, Rendering(white=15)).max() == 255
    assert shown(dim, rendering).max() == 15, "8 bits end at 255, unless they are said to end earlier"


def test_pictures_that_show_nothing_are_named() -> None:
    plain, white = Image.new("RGB", (9, 9), (9, 200, 9)), Image.new("RGBA", (9, 9), (255, 255, 255, 0))
    dim = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4))
    bright = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    _, notes = found(*map(encoded, (plain, white, dim, bright)))
    flat, dark = notes
    assert flat.startswith("2 of 4 pictures looked at (row 0, row 1) are of one color") and "task.background" in flat
    assert dark.startswith("1 of 4 pictures looked at (row 2) is dark, at most 15 of 255") and "task.white=15" in dark
    assert found(encoded(bright)) == (PLAIN, ())


def test_a_single_bright_pixel_in_a_picture_is_enough() -> None:
    pixels = np.zeros((100, 100), np.uint8)
    pixels[97, 3] = 255
    assert found(encoded(Image.fromarray(pixels))) == (PLAIN, ())


def test_training_scoring_and_prediction_see_the_same(tmp_path: Path, checkpoint: Path) -> None:
    for name, level in (("dark", 300), ("light", 4000)):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for number in range(8):
            values = np.full((16, 16), level - number, np.uint16)
            values[:8] //= 2
            Image.fromarray(values).save(tmp_path / "scans" / name / f"{number}.png")
    plan = make_plan(RunConfig(task=str(tmp_path / "scans"), model=str(checkpoint)), keeps=True)
    assert any("4095 as white" in line for line in plan.notes)
    split, rendering = plan.data.train, plan.data.train.rendering
    saved = plan.checkpoint.rendered_as(rendering)
    assert open_checkpoint("net", checkpoint).rendering == PLAIN
    config = json.loads((checkpoint / "config.json").read_text()) | {"nfft_rendering": rendering.to_json()}
    (checkpoint / "config.json").write_text(json.dumps(config))
    model = nfft.AutoNFNet.from_pretrained(checkpoint)
    assert model.rendering == rendering == saved.rendering == plan.data.validation.rendering
    for index in range(len(split)):
        np.testing.assert_array_equal(model.view(split[index]), model._view(decode(split[index], rendering)))
        view = train_view(split[index], plan.recipe, np.random.default_rng(0), rendering)
        assert int(view.max()) == pytest.approx(int(np.asarray(decode(split[index], rendering)).max()), abs=12)
    model.save_pretrained(tmp_path / "again")
    assert nfft.AutoNFNet.from_pretrained(tmp_path / "again").rendering == rendering


@pytest.mark.parametrize(
    "entry",
    [
        [], 7, {"background": "url(x)"}, {"white": "x"}, {"integers": [1]}, {"floats": [0, "a"]}, {"black": 1e99},
        {"a": 1}, {"max_pixels": 10**12},
    ],
)  # fmt: skip
def test_an_odd_entry_of_a_stranger_is_refused(entry: Any) -> None:
    with pytest.raises(UserError, match=r"net: nfft_rendering in config\.json is not as nfft writes it"):
        rendering_from("net", entry)


def test_settings_have_bounds() -> None:
    for settings, sentence in (
        ({"background": "pink"}, "background must be white, black, none or a color"),
        ({"black": 3.0, "white": 3.0}, "black must be below white"),
        ({"max_pixels": 0}, "max_pixels must be"),
    ):
        with pytest.raises(UserError, match=sentence):
            Task("t", "t/", **settings)  # type: ignore[arg-type]


def test_large_pictures_are_let_in_by_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = encoded(Image.new("1", (100, 100)))
    with pytest.raises(UnreadableImage, match=r"more than 5,000 pixels; max_pixels=\.\.\. lets larger ones in"):
        decode(raw, Rendering(max_pixels=5000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(UnreadableImage, match="more than 8,000 pixels; max_pixels"):
        decode(raw)
    assert decode(raw, Rendering(max_pixels=10_000)).size == (100, 100)


def test_long_texts_beside_the_pixels_do_no_harm() -> None:
    notes = PngInfo()
    notes.add_text("workflow", "x" * (3 << 20), zip=True)
    assert decode(encoded(Image.new("RGB", (4, 4)), pnginfo=notes)).size == (4, 4)


def test_what_would_take_a_plug_in_is_said() -> None:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    with pytest.raises(UnreadableImage, match="it is HEIC, which takes a plug-in: pip install pillow-heif"):
        decode(heic)
    with pytest.raises(UnreadableImage, match="it is JPEG XL, which takes a plug-in: pip install pillow-jxl-plugin"):
        decode(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(64))


def test_colors_of_16_bits_in_planes_are_refused() -> None:
    # What Pillow reads as noise: three planes of 16 bits, uncompressed.
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[284] = 2
    raw = bytearray(encoded(Image.new("RGB", (4, 4)), "TIFF", tiffinfo=info))
    place = raw.index(b"\x08\0\x08\0\x08\0")
    raw[place : place + 6] = b"\x10\0\x10\0\x10\0"
    with pytest.raises(UnreadableImage, match="16 bits lie in separate planes"):
        decode(bytes(raw) + bytes(200))
