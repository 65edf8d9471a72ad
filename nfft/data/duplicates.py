"""Images that are there twice, by their content."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from nfft.data.decode import RawImage
from nfft.data.threads import map_in_threads
from nfft.files import cache_folder, write_text

# Bytes at the end of a file by which most others of its size are told from it.
TAIL = 512


def duplicates(images: Sequence[RawImage], statuses: Sequence[Sequence[int]]) -> list[list[int]]:
    """Places of images that are the same, byte by byte or pixel by pixel: those of each image ascending.

    Files are read only where another has the same size, and not again in later runs while they stay what they are.

    Args:
        statuses: the size, time and inode of each image that is a file, as `base.status_of` has them.
    """
    sizes = [_size(place, image, statuses[place][0]) for place, image in enumerate(images)]
    candidates = [place for group in _groups(range(len(sizes)), sizes.__getitem__) for place in group]
    if not candidates:
        return []
    cached = cache_folder("duplicates") / f"{_key(images, statuses)}.json"
    if (known := _read_cache(cached, len(images))) is not None:
        return known

    def groups(places: Sequence[int], content: Callable[[RawImage, int], bytes]) -> list[list[int]]:
        contents = map_in_threads(
            lambda place: content(images[place], statuses[place][0]), places, "looking for images that are there twice"
        )
        by_place = dict(zip(places, contents, strict=True))
        return _groups(places, lambda place: (sizes[place], by_place[place]))

    alike = [place for group in groups(candidates, _end) for place in group]
    same = sorted(groups(sorted(alike), _digest))
    _write_cache(cached, len(images), same)
    return same


def _size(place: int, image: RawImage, size: int) -> object:
    """What images that are the same have in common, at no cost."""
    if isinstance(image, str | bytes):
        size = len(image) if isinstance(image, bytes) else size
        # What is empty or absent is like no other.
        return size if size > 0 else ("none", place)
    pixels = np.asarray(image)
    return pixels.shape, pixels.dtype.str


def _key(images: Sequence[RawImage], statuses: Sequence[Sequence[int]]) -> str:
    """Changes when the images do: their files, or what they hold."""
    digest = hashlib.sha256()
    for image, status in zip(images, statuses, strict=True):
        told = f"{image} {status}\n".encode("utf-8", "surrogateescape") if isinstance(image, str) else _digest(image, 0)
        digest.update(told)
    return digest.hexdigest()


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
        # Faster than a file object of Python's, and there may be many.
        file = os.open(image, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            if size > TAIL:
                os.lseek(file, -TAIL, os.SEEK_END)
            return os.read(file, TAIL)
        finally:
            os.close(file)
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


def _read_cache(path: Path, count: int) -> list[list[int]] | None:
    """What an earlier run found; None where there is nothing that can be used."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        groups = [[int(place) for place in group] for group in stored["same"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_sound = stored.get("images") == count and all(0 <= place < count for group in groups for place in group)
    return groups if is_sound else None


def _write_cache(path: Path, count: int, groups: list[list[int]]) -> None:
    # A cache that cannot be written costs time in the next run, and nothing in this one.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"images": count, "same": groups}))
