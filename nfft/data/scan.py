"""Looks at images before training: their sizes, and whether they can be read at all."""

import contextlib
import hashlib
import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nfft.data.decode import UnreadableImage, decode
from nfft.data.decode_cache import Store, storing
from nfft.data.splits import Split
from nfft.data.threads import map_in_threads
from nfft.files import cache_folder, write_text

# Of a larger split, so many are looked at, evenly spread: a run's start is not to read all of ImageNet.
LOOKED_AT = 4096
# Images that tell how large all of them are.
SAMPLED = 32


@dataclass(frozen=True)
class Broken:
    """An image that cannot be read: its index in the split, and why."""

    index: int
    reason: str


@dataclass(frozen=True)
class Scan:
    """What was found in a split.

    Attributes:
        indices: of the images that were looked at, (n,), ascending.
        sizes: their widths and heights in px, (n, 2), 0 where broken.
        broken: those that cannot be read.
    """

    indices: np.ndarray
    sizes: np.ndarray
    broken: list[Broken]


def scan_split(split: Split, *, keeps: bool = False) -> Scan:
    """Decode images of `split`, at most LOOKED_AT, in parallel; the outcome is cached until the data changes.

    Args:
        keeps: of a split that is looked at whole, keep the images decoded (nfft.decoded).
    """
    count = min(len(split), LOOKED_AT)
    indices = np.arange(count) * len(split) // max(1, count)
    if split.fingerprint is None:
        shapes = [np.asarray(split[index]).shape[1::-1] for index in indices.tolist()]
        return Scan(indices, np.array(shapes, np.int64).reshape(-1, 2), [])
    key = hashlib.sha256(split.fingerprint.encode() + split.rows[indices].tobytes() + indices.tobytes()).hexdigest()
    cached = cache_folder("scans") / f"{key}.json"
    if (known := _read(cached, indices)) is not None:
        return known
    with storing(split, _pixels(split)) if keeps and count == len(split) else nullcontext() as store:
        looks = map_in_threads(
            lambda index: _look(split, index, store), indices.tolist(), f"reading the {split.name} images"
        )
    errors = {index: each for index, each in zip(indices.tolist(), looks, strict=True) if isinstance(each, Exception)}
    sizes = np.array([(0, 0) if isinstance(each, Exception) else each for each in looks], np.int64).reshape(-1, 2)
    found = Scan(indices, sizes, [Broken(index, str(error)) for index, error in errors.items()])
    if not any(_may_pass(error) for error in errors.values()):
        _write(cached, found)
    return found


def _pixels(split: Split) -> int:
    """Of all images together, about: as many as a few have, evenly spread."""
    few = [_look(split, index, None) for index in range(0, len(split), max(1, len(split) // SAMPLED))]
    sizes = [width * height for width, height in (each for each in few if not isinstance(each, Exception))]
    return round(float(np.mean(sizes)) * len(split)) if sizes else 0


def _look(split: Split, index: int, store: Store | None) -> tuple[int, int] | UnreadableImage:
    try:
        image = decode(split[index])
    except UnreadableImage as error:
        return error
    if store is not None:
        store.add(index, np.asarray(image))
    return image.size


def _may_pass(error: UnreadableImage) -> bool:
    """Whether the system could not read the file, as for want of a right: that passes, and the file looks the same."""
    cause = error.__cause__
    return isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno is not None)


def _read(path: Path, indices: np.ndarray) -> Scan | None:
    """What was found before; None where nothing was, or it cannot be read."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        sizes = np.array(stored["sizes"], np.int64).reshape(-1, 2)
        return Scan(indices, sizes, [Broken(**each) for each in stored["broken"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, result: Scan) -> None:
    broken = [{"index": each.index, "reason": each.reason} for each in result.broken]
    # A cache that cannot be written costs time in the next run, and nothing in this one.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"sizes": result.sizes.tolist(), "broken": broken}))
