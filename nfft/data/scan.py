"""Scans images before training: their sizes, and whether they can be read at all."""

import contextlib
import hashlib
import json
import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nfft.data.decode import UnreadableImage, decode
from nfft.data.decode_cache import Store, storing
from nfft.data.splits import Split
from nfft.data.threads import map_in_threads
from nfft.files import cache_folder, write_text

# Of a larger split, so many are scanned, evenly spread: a run's start is not to read all of ImageNet.
MOST_SCANNED = 4096
# Images by which the size of all is estimated.
SIZE_SAMPLE = 32


@dataclass(frozen=True)
class BrokenImage:
    """An image that cannot be read: its index in the split, and why."""

    index: int
    reason: str


@dataclass(frozen=True)
class Scan:
    """Sizes of a split's images, and which are broken.

    Attributes:
        indices: of the images that were scanned, (n,), ascending.
        sizes: their widths and heights in px, (n, 2), 0 where broken.
        broken: those that cannot be read.
    """

    indices: np.ndarray
    sizes: np.ndarray
    broken: list[BrokenImage]


def scan_split(split: Split, *, keeps: bool = False) -> Scan:
    """Decode images of `split`, at most MOST_SCANNED, in parallel; the outcome is cached until the data changes.

    Args:
        keeps: of a split that is scanned whole, keep the images decoded, in decode_cache's file.
    """
    count = min(len(split), MOST_SCANNED)
    indices = np.arange(count) * len(split) // max(1, count)
    if split.fingerprint is None:
        shapes = [np.asarray(split[index]).shape[1::-1] for index in indices.tolist()]
        return Scan(indices, np.array(shapes, np.int64).reshape(-1, 2), [])
    key = hashlib.sha256(split.fingerprint.encode() + split.rows[indices].tobytes() + indices.tobytes()).hexdigest()
    cached = cache_folder("scans") / f"{key}.json"
    if (scan := _read_cache(cached, indices)) is not None:
        return scan
    with storing(split, _estimate_pixels(split)) if keeps and count == len(split) else nullcontext() as store:
        outcomes = map_in_threads(
            lambda index: _decode_size(split, index, store), indices.tolist(), f"reading the {split.name} images"
        )
    sizes = [(0, 0) if isinstance(outcome, UnreadableImage) else outcome for outcome in outcomes]
    errors = {
        index: outcome
        for index, outcome in zip(indices.tolist(), outcomes, strict=True)
        if isinstance(outcome, UnreadableImage)
    }
    broken = [BrokenImage(index, str(error)) for index, error in errors.items()]
    scan = Scan(indices, np.array(sizes, np.int64).reshape(-1, 2), broken)
    if not any(_may_pass(error) for error in errors.values()):
        _write_cache(cached, scan)
    return scan


def _estimate_pixels(split: Split) -> int:
    """Pixels of all images together, by those of a few, evenly spread."""
    indices = range(0, len(split), max(1, len(split) // SIZE_SAMPLE))
    outcomes = [_decode_size(split, index, None) for index in indices]
    pixels = [math.prod(outcome) for outcome in outcomes if not isinstance(outcome, UnreadableImage)]
    return round(float(np.mean(pixels)) * len(split)) if pixels else 0


def _decode_size(split: Split, index: int, store: Store | None) -> tuple[int, int] | UnreadableImage:
    """Width and height of an image, or why it cannot be read; its pixels go into `store`."""
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


def _read_cache(path: Path, indices: np.ndarray) -> Scan | None:
    """An earlier scan; None where there is none, or it cannot be read."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        sizes = np.array(stored["sizes"], np.int64).reshape(-1, 2)
        return Scan(indices, sizes, [BrokenImage(**image) for image in stored["broken"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cache(path: Path, scan: Scan) -> None:
    broken = [{"index": image.index, "reason": image.reason} for image in scan.broken]
    # A cache that cannot be written costs time in the next run, and nothing in this one.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"sizes": scan.sizes.tolist(), "broken": broken}))
