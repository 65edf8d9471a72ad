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

# Of a larger file, the last bytes are compared before all are.
TAIL = 1 << 16


def duplicates(images: Sequence[RawImage]) -> list[list[int]]:
    """Places of images that are the same, byte by byte or pixel by pixel: those of each image ascending.

    Files are read only where another has the same size, and not again in later runs while they stay what they are.
    """
    sizes, statuses = _measure(images)
    candidates = [place for group in _groups(range(len(sizes)), sizes.__getitem__) for place in group]
    if not candidates:
        return []
    cached = cache_folder("duplicates") / f"{statuses.hexdigest()}.json"
    if (known := _read_cache(cached, len(images))) is not None:
        return known

    def contents(places: Sequence[int], whole: bool) -> Callable[[int], object]:
        digests = map_in_threads(lambda place: _digest(images[place], whole), places, "looking for the same images")
        by_place = dict(zip(places, digests, strict=True))
        return lambda place: (sizes[place], by_place[place])

    alike = _groups(candidates, contents(candidates, False))
    large = [place for group in alike for place in group if sizes[place][1] > TAIL]
    same = [group for group in alike if sizes[group[0]][1] <= TAIL]
    same += _groups(large, contents(large, True))
    same.sort()
    _write_cache(cached, len(images), same)
    return same


def _measure(images: Sequence[RawImage]) -> tuple[list[tuple], "hashlib._Hash"]:
    """What images that are the same have in common, at no cost; and a digest that changes when they do."""
    sizes: list[tuple] = []
    digest = hashlib.sha256()
    told: list[str] = []
    for place, image in enumerate(images):
        if isinstance(image, str):
            try:
                # Not through Path, which takes as long as all the rest: there may be a million files.
                status = os.stat(image)  # noqa: PTH116
            except (OSError, ValueError):
                sizes.append(("none", place))  # like no other
                continue
            told.append(f"{image} {status.st_size} {status.st_mtime_ns} {status.st_dev} {status.st_ino}")
            sizes.append(("bytes", status.st_size) if status.st_size else ("none", place))
        elif isinstance(image, bytes):
            digest.update(hashlib.sha256(image).digest())
            sizes.append(("bytes", len(image)) if image else ("none", place))
        else:
            pixels = np.asarray(image)
            digest.update(pixels.tobytes())
            sizes.append(("pixels", pixels.nbytes, pixels.shape, str(pixels.dtype)))
    digest.update("\n".join(told).encode("utf-8", "surrogateescape"))
    return sizes, digest


def _groups(places: Iterable[int], key: Callable[[int], object]) -> list[list[int]]:
    """Places of the same key together, where they are more than one."""
    groups: dict[object, list[int]] = {}
    for place in places:
        groups.setdefault(key(place), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _digest(image: RawImage, whole: bool) -> bytes:
    """Of the last bytes of an image, or of all; of pixels always of all."""
    if isinstance(image, str):
        try:
            with open(image, "rb", buffering=0) as file:  # noqa: PTH123
                if whole:
                    return hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type]
                size = os.fstat(file.fileno()).st_size
                if size > TAIL:
                    file.seek(size - TAIL)
                content = file.read(TAIL)
        except OSError:
            return os.urandom(32)  # like no other
    elif isinstance(image, bytes):
        content = image if whole else image[-TAIL:]
    else:
        content = np.asarray(image).tobytes()
    return hashlib.sha256(content).digest()


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
