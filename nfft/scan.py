"""Looks at images before training: their sizes, and whether they can be read at all."""

import contextlib
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nfft.data import Split
from nfft.files import write_text
from nfft.preprocess import UnreadableImage, decode

BLOCK = 128
# Of a larger split, so many are looked at, evenly spread: a run's start is not to read all of ImageNet.
LOOKED_AT = 4096


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


def scan(split: Split) -> Scan:
    """Decode images of `split`, at most LOOKED_AT, in parallel; the outcome is cached until the data changes."""
    count = min(len(split), LOOKED_AT)
    indices = np.arange(count) * len(split) // max(1, count)
    if split.fingerprint is None:
        shapes = [np.asarray(split[index]).shape[1::-1] for index in indices.tolist()]
        return Scan(indices, np.array(shapes, np.int64).reshape(-1, 2), [])
    key = hashlib.sha256(split.fingerprint.encode() + split.rows[indices].tobytes() + indices.tobytes()).hexdigest()
    cached = cache_folder("scans") / f"{key}.json"
    if cached.is_file():
        return _read(cached, indices)
    looks = _look_at_all(split, indices)
    sizes = np.array([(0, 0) if isinstance(each, str) else each for each in looks], np.int64).reshape(-1, 2)
    broken = [Broken(int(index), each) for index, each in zip(indices, looks, strict=True) if isinstance(each, str)]
    found = Scan(indices, sizes, broken)
    _write(cached, found)
    return found


def _look_at_all(split: Split, indices: np.ndarray) -> list[tuple[int, int] | str]:
    from tqdm import tqdm

    blocks = [indices[start : start + BLOCK] for start in range(0, len(indices), BLOCK)]
    # Pillow decodes without the interpreter's lock, so threads do. On a terminal, a scan of over 5 s shows a bar.
    with ThreadPoolExecutor(cores()) as pool:
        looks = pool.map(lambda block: [_look(split, int(index)) for index in block], blocks)
        shown = tqdm(looks, f"reading the {split.name} images", len(blocks), delay=5, disable=None, leave=False)
        return [each for block in shown for each in block]


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _look(split: Split, index: int) -> tuple[int, int] | str:
    try:
        return decode(split[index]).size
    except UnreadableImage as error:
        return str(error)


def cache_folder(name: str) -> Path:
    """Where the user keeps what can be made again, of one kind."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "nfft" / name


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
