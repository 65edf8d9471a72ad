"""Images are decoded once, and whether they were shows in nothing but the time."""

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nfft.data import decode_cache
from nfft.data.decode import UnreadableImage, decode
from nfft.data.decode_cache import LIMIT, Decoded, fill_cache, fits_cache
from nfft.data.splits import Split
from nfft.files import locked

SIZES = [(5, 3), (4, 4), (2, 8), (300, 200), (1, 1)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nfft" / "decoded"


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(width).integers(256, size=(height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def make_split(fingerprint: str | None = "one", images: list | None = None) -> Split:
    images = [jpeg(*size) for size in SIZES] if images is None else images
    return Split("train", images, np.arange(len(images)), np.zeros(len(images), np.int64), fingerprint)


def lose(split: Split) -> None:
    split.images[:] = [b""] * len(split.images)


def test_pixels_are_those_of_the_images() -> None:
    split = make_split()
    expected = [np.asarray(decode(raw)) for raw in split.images]
    for index, pixels in enumerate(expected):
        np.testing.assert_array_equal(Decoded(split)[index], pixels)
    fill_cache(split, 1)
    lose(split)
    for decoded in (Decoded(split), pickle.loads(pickle.dumps(Decoded(split)))):
        for index, pixels in enumerate(expected):
            np.testing.assert_array_equal(decoded[index], pixels)


def test_indices_are_those_of_the_split() -> None:
    split = make_split().keep(np.array([3, 1]))
    fill_cache(split, 1)
    lose(split)
    assert [Decoded(split)[index].shape[1::-1] for index in (0, 1)] == [SIZES[3], SIZES[1]]


@pytest.mark.parametrize("other", [make_split("two"), make_split().keep(np.array([0, 1]))])
def test_other_data_have_another_file(other: Split) -> None:
    fill_cache(make_split(), 1)
    lose(other)
    with pytest.raises(UnreadableImage, match="the file is empty"):
        Decoded(other)[0]


def test_what_cannot_be_read_says_so_when_it_is_needed() -> None:
    split = make_split(images=[jpeg(5, 3), b"", jpeg(4, 4)[:200], jpeg(2, 8)])
    fill_cache(split, 1)
    decoded = Decoded(split)
    assert decoded[0].shape == (3, 5, 3) and decoded[3].shape == (8, 2, 3)
    for index, reason in ((1, "the file is empty"), (2, ".")):
        with pytest.raises(UnreadableImage, match=reason):
            decoded[index]


def test_nothing_is_decoded_twice(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = make_split()
    fill_cache(split, 1)
    (file,) = cache.iterdir()
    before = file.stat().st_ino
    lose(split)
    fill_cache(split, 1)
    assert [file.stat().st_ino for file in cache.iterdir()] == [before]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_half_a_file_is_never_found(cache: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(file: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    split = make_split()
    try:
        fill_cache(split, 1)
    except KeyboardInterrupt:
        assert isinstance(error, KeyboardInterrupt)
    assert list(cache.iterdir()) == []
    assert Decoded(split)[0].shape == (3, 5, 3)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    split = make_split()
    fill_cache(split, 1)
    assert Decoded(split)[0].shape == (3, 5, 3)


@pytest.mark.parametrize(
    ("name", "limit"), [("shutil.disk_usage", SimpleNamespace(free=599)), ("memory_of", 1199)], ids=["disk", "memory"]
)
def test_a_full_disk_and_a_small_memory_are_left_alone(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: object
) -> None:
    monkeypatch.setattr(f"nfft.data.decode_cache.{name}", lambda where: limit)
    fill_cache(make_split(), 100)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_those_used_last_stay(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a", "b", "c", "d"]
    for age, name in enumerate(names[:3]):
        known = set(cache.iterdir()) if cache.exists() else set()
        fill_cache(make_split(name), 1)
        (new,) = set(cache.iterdir()) - known
        os.utime(new, (age, age))
    size = new.stat().st_size
    Decoded(make_split("a"))
    monkeypatch.setattr(decode_cache, "LIMIT", 3 * size + 10)
    fill_cache(make_split("d"), size // 3)
    assert len(list(cache.iterdir())) == 3
    for name in names:
        split = make_split(name)
        lose(split)
        if name == "b":
            with pytest.raises(UnreadableImage):
                Decoded(split)[0]
        else:
            assert Decoded(split)[0].shape == (3, 5, 3)


def test_more_than_was_expected_is_not_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_cache, "LIMIT", 10_000)
    split = make_split()
    fill_cache(split, 1)
    (file,) = cache.iterdir()
    assert file.stat().st_size < 10_000
    # The one that is too large is decoded each time.
    assert Decoded(split)[3].shape == (200, 300, 3)
    lose(split)
    assert Decoded(split)[4].shape == (1, 1, 3)
    with pytest.raises(UnreadableImage):
        Decoded(split)[3]


def test_arrays_and_large_splits_are_not_kept() -> None:
    assert fits_cache(make_split(), LIMIT // 3)
    assert not fits_cache(make_split(), LIMIT // 3 + 1)
    assert not fits_cache(make_split(None), 1)


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "a pixel": lambda file: flip(file, -1),
    "where the pixels are": lambda file: flip(file, 3),
    "the hash of that": lambda file: flip(file, len(SIZES) * 32 + 2),
    "cut in the pixels": lambda file: os.truncate(file, file.stat().st_size - 2),
    "cut in the table": lambda file: os.truncate(file, 9),
    "empty": lambda file: os.truncate(file, 0),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("is_open", [False, True])
def test_a_damaged_file_is_deleted_and_said(
    cache: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object], is_open: bool
) -> None:
    split = make_split()
    expected = [np.asarray(decode(raw)) for raw in split.images]
    fill_cache(split, 1)
    (file,) = cache.iterdir()
    decoded = Decoded(split)
    damage(file)
    if not is_open:
        decoded = Decoded(split)
    for index, pixels in enumerate(expected):
        np.testing.assert_array_equal(decoded[index], pixels)
    if is_open and file.exists():
        return  # what had been read at first stays good
    assert not file.exists()
    assert [record.getMessage() for record in caplog.records if "was damaged: it is deleted" in record.getMessage()]
    fill_cache(split, 1)
    lose(split)
    for index, pixels in enumerate(expected):
        np.testing.assert_array_equal(Decoded(split)[index], pixels)


def test_what_killed_processes_were_writing_is_deleted_and_nothing_else(cache: Path) -> None:
    cache.mkdir(parents=True)
    left, mine, busy = cache / f"{'a' * 64}.0123abcd.tmp", cache / "notes.tmp", cache / f"{'b' * 64}.0123abcd.tmp"
    for file in (left, mine):
        file.write_bytes(b"half")
    with locked(busy):
        busy.write_bytes(b"half")
        fill_cache(make_split(), 1)
        assert busy.read_bytes() == b"half"
    assert not left.exists() and mine.exists()
