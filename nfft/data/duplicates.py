"""Images that are there twice, by their content."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from nfft.data.decode import RawImage
from nfft.data.threads import map_in_threads
from nfft.files import cache_folder, part_of, remove_unfinished, write_text

# Bytes at the end of a file by which most others of its size are told from it.
TAIL = 512


def duplicates(images: Sequence[RawImage], sizes: Sequence[int], key: str | None) -> list[list[int]]:
    """Places of images that are the same, byte by byte or pixel by pixel: those of each image ascending.

    Files are read only where another has the same size, and not again in later runs while they stay what they are.

    Args:
        sizes: of the images that are files, in bytes; -1 for those that are absent or no files.
        key: changes when the images do; None where they are not to be remembered.
    """
    cached = None if key is None else cache_folder("duplicates") / f"{key}.json"
    if cached is not None and (known := _read_cache(cached, len(images))) is not None:
        return known
    told = [_told(place, images[place]) if size < 0 else size or ("none", place) for place, size in enumerate(sizes)]

    def groups(places: Sequence[int], content: Callable[[RawImage, int], bytes]) -> list[list[int]]:
        contents = map_in_threads(
            lambda place: content(images[place], sizes[place]), places, "looking for images that are there twice"
        )
        by_place = dict(zip(places, contents, strict=True))
        return _groups(places, lambda place: (told[place], by_place[place]))

    candidates = sorted(place for group in _groups(range(len(told)), told.__getitem__) for place in group)
    alike = sorted(place for group in groups(candidates, _end) for place in group)
    same = sorted(groups(alike, _digest))
    if cached is not None:
        _write_cache(cached, len(images), same)
    return same


def _told(place: int, image: RawImage) -> object:
    """What images that are no files have in common if they are the same, at no cost."""
    if isinstance(image, str | bytes):
        # What is empty or absent is like no other.
        return len(image) if isinstance(image, bytes) and image else ("none", place)
    pixels = np.asarray(image)
    return pixels.shape, pixels.dtype.str


def _groups(places: Iterable[int], key: Callable[[int], object]) -> list[list[int]]:
    """Places of the same key together, where they are more than one."""
    groups: dict[object, list[int]] = {}
    for place in places:
        groups.setdefault(key(place), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _end(image: RawImage, size: int) -> bytes:
    """The last bytes of an image file."""
    if isinstance(image, bytes):
        return image[-TAIL:]
    if not isinstance(image, str):
        return b""
    try:
        return part_of(image, min(size, TAIL), max(0, size - TAIL))
    except OSError:
        return os.urandom(32)  # like no other


def _digest(image: RawImage, _: int) -> bytes:
    """SHA-256 of an image file, or of pixels."""
    if isinstance(image, str):
        try:
            with open(image, "rb") as file:  # noqa: PTH123
                return hashlib.file_digest(file, "sha256").digest()
        except OSError:
            return os.urandom(32)
    return hashlib.sha256(image if isinstance(image, bytes) else np.asarray(image).tobytes()).digest()


@dataclass(frozen=True)
class _Known:
    """What the file of an earlier run holds."""

    images: int
    same: list[list[int]]


def _read_cache(path: Path, count: int) -> list[list[int]] | None:
    """What an earlier run found; None where there is nothing that can be used."""
    try:
        known = msgspec.json.decode(path.read_bytes(), type=_Known)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
    is_sound = known.images == count and all(0 <= place < count for group in known.same for place in group)
    return known.same if is_sound else None


def _write_cache(path: Path, count: int, groups: list[list[int]]) -> None:
    # A cache that cannot be written costs time in the next run, and nothing in this one.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(path.parent, lambda name: name.endswith(path.suffix))
        write_text(path, json.dumps({"images": count, "same": groups}))
