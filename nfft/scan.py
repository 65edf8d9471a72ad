"""Looks at images before training: their sizes, and whether they can be read at all."""

import contextlib
import hashlib
import json
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nfft.data import Split
from nfft.decoded import Store, storing
from nfft.files import cache_folder, write_text
from nfft.parallel import of_each
from nfft.preprocess import UnreadableImage, decode

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


def scan(split: Split, *, keeps: bool = False) -> Scan:
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
    if cached.is_file():
        return _read(cached, indices)
    with storing(split, _pixels(split)) if keeps and count == len(split) else nullcontext() as store:
        looks = of_each(lambda index: _look(split, index, store), indices.tolist(), f"reading the {split.name} images")
    sizes = np.array([(0, 0) if isinstance(each, str) else each for each in looks], np.int64).reshape(-1, 2)
    broken = [Broken(int(index), each) for index, each in zip(indices, looks, strict=True) if isinstance(each, str)]
    found = Scan(indices, sizes, broken)
    _write(cached, found)
    return found


def _pixels(split: Split) -> int:
    """Of all images together, about: as many as a few have, evenly spread."""
    few = [_look(split, index, None) for index in range(0, len(split), max(1, len(split) // SAMPLED))]
    sizes = [width * height for width, height in (each for each in few if not isinstance(each, str))]
    return round(float(np.mean(sizes)) * len(split)) if sizes else 0


def _look(split: Split, index: int, store: Store | None) -> tuple[int, int] | str:
    try:
        image = decode(split[index])
    except UnreadableImage as error:
        return str(error)
    if store is not None:
        store.add(index, np.asarray(image))
    return image.size


def _read(path: Path, indices: np.ndarray) -> Scan:
    stored = json.loads(path.read_text())
    return Scan(
        indices, np.array(stored["sizes"], np.int64).reshape(-1, 2), [Broken(**each) for each in stored["broken"]]
    )


def _write(path: Path, result: Scan) -> None:
    broken = [{"index": each.index, "reason": each.reason} for each in result.broken]
    # A cache that cannot be written costs time in the next run, and nothing in this one.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"sizes": result.sizes.tolist(), "broken": broken}))
