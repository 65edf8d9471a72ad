"""Images are looked at once, and not again until the data changes; of many, a part."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfft.data import scan
from nfft.data.decode import UnreadableImage, decode, examine
from nfft.data.decode_cache import Decoded
from nfft.data.scan import BrokenImage, scan_split
from nfft.data.splits import Split


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def make_split(images: list, fingerprint: str | None = "one") -> Split:
    return Split("train", images, np.arange(len(images)), np.zeros(len(images), np.int64), fingerprint)


IMAGES = [png(5, 3), b"", png(4, 4), png(9, 7)[:40], png(2, 8)]


def test_finds_sizes_and_what_is_broken() -> None:
    scanned = scan_split(make_split(IMAGES))
    assert scanned.sizes.tolist() == [[5, 3], [0, 0], [4, 4], [0, 0], [2, 8]]
    assert scanned.broken[0] == BrokenImage(1, "the file is empty")
    assert scanned.broken[1].index == 3
    assert scanned.broken[1].reason
    assert len(scanned.broken) == 2


def test_indices_are_those_of_the_split() -> None:
    scanned = scan_split(make_split(IMAGES).keep(np.array([3, 4])))
    assert [broken.index for broken in scanned.broken] == [0]
    assert scanned.sizes.tolist() == [[0, 0], [2, 8]]


def test_of_a_large_split_a_part_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MOST_SCANNED", 3)
    split = make_split([png(2 + index, 3) if index != 4 else b"" for index in range(7)])
    looked = []
    monkeypatch.setattr(scan, "examine", lambda raw, how: (looked.append(raw), examine(raw, how))[1])
    scanned = scan_split(split)
    assert scanned.indices.tolist() == [0, 2, 4]
    assert scanned.sizes.tolist() == [[2, 3], [4, 3], [0, 0]]
    assert scanned.broken == [BrokenImage(4, "the file is empty")]
    assert len(looked) == 3
    again = scan_split(split)
    assert again.indices.tolist() == scanned.indices.tolist()
    assert again.broken == scanned.broken
    monkeypatch.setattr(scan, "MOST_SCANNED", 7)
    assert len(scan_split(split).indices) == 7


def test_outcome_is_kept_until_the_data_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    split = make_split(IMAGES)
    first = scan_split(split)

    def refuse(raw: bytes, how: object) -> None:
        raise AssertionError("looked again")

    monkeypatch.setattr(scan, "examine", refuse)
    again = scan_split(split)
    np.testing.assert_array_equal(again.sizes, first.sizes)
    assert again.sizes.dtype == first.sizes.dtype
    assert again.broken == first.broken
    for other in (make_split(IMAGES, "two"), split.keep(np.array([0, 2]))):
        with pytest.raises(AssertionError, match="looked again"):
            scan_split(other)


def test_a_small_split_is_decoded_once_to_be_looked_at_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    split = make_split(list(IMAGES))
    expected = np.asarray(decode(IMAGES[4]))
    scanned = scan_split(split, keeps=True)
    assert scanned.sizes.tolist() == scan_split(make_split(IMAGES, "as it was")).sizes.tolist()
    split.images[:] = [b""] * len(IMAGES)
    np.testing.assert_array_equal(Decoded(split)[4], expected)
    with pytest.raises(UnreadableImage):
        Decoded(split)[1]


def test_what_is_not_asked_for_or_not_looked_at_whole_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan_split(make_split(IMAGES))
    monkeypatch.setattr(scan, "MOST_SCANNED", 3)
    scan_split(make_split(IMAGES, "two"), keeps=True)
    assert not (cache / "nfft" / "decoded").exists()


def test_what_may_pass_is_looked_at_again(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(5, 3))
    split = make_split([str(file), str(tmp_path / "b.png")])
    assert [image.index for image in scan_split(split).broken] == [1]
    (tmp_path / "b.png").write_bytes(png(4, 4))
    assert scan_split(split).broken == []
    (outcome,) = (cache / "nfft" / "scans").iterdir()
    for text in ("", "[]", '{"seen": [], "broken": []}', '{"seen": {"0": ["a", 1e999]}, "broken": []}', "[" * 100_000):
        outcome.write_text(text)
        assert scan_split(split).sizes.tolist() == [[5, 3], [4, 4]], "a damaged record is no record"


def test_what_killed_processes_were_writing_goes(cache: Path) -> None:
    scans = cache / "nfft" / "scans"
    scans.mkdir(parents=True)
    for name in (f".{'a' * 64}.json.0123abcd", ".notes.txt.0123abcd"):
        (scans / name).write_text("{")
    scan_split(make_split(IMAGES))
    assert {path.name for path in scans.glob(".*")} == {".notes.txt.0123abcd"}


def test_arrays_are_not_cached(cache: Path) -> None:
    scanned = scan_split(make_split([np.zeros((3, 5), np.uint8), np.zeros((7, 2, 3), np.uint8)], None))
    assert scanned.sizes.tolist() == [[5, 3], [2, 7]]
    assert scanned.broken == []
    assert not cache.exists()


def test_no_images() -> None:
    assert scan_split(make_split([])).sizes.shape == (0, 2)
    assert scan_split(make_split([], None)).sizes.shape == (0, 2)
