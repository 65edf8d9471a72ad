"""Looks at every image once before training: its size, and whether it can be read at all."""

import contextlib
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nfft.data import Split
from nfft.preprocess import UnreadableImage, decode

BLOCK = 256


@dataclass(frozen=True)
class Broken:
    """An image that cannot be read: its index in the split, and why."""

    index: int
    reason: str


@dataclass(frozen=True)
class Scan:
    """Sizes of a split's images in px, shape (n, 2), 0 where broken; and the broken ones."""

    sizes: np.ndarray
    broken: list[Broken]


def scan(split: Split) -> Scan:
    """Decode every image of `split`, in parallel; the outcome is cached for as long as the data stays the same."""
    if split.fingerprint is None:
        shapes = [np.asarray(split[index]).shape[1::-1] for index in range(len(split))]
        return Scan(np.array(shapes, np.int64).reshape(-1, 2), [])
    key = hashlib.sha256(split.fingerprint.encode() + split.rows.tobytes()).hexdigest()
    cached = _cache_folder() / f"{key}.json"
    if cached.is_file():
        return _read(cached)
    found = _look_at_all(split)
    sizes = np.array([(0, 0) if isinstance(each, str) else each for each in found], np.int64).reshape(-1, 2)
    broken = [Broken(index, each) for index, each in enumerate(found) if isinstance(each, str)]
    _write(cached, Scan(sizes, broken))
    return Scan(sizes, broken)


def _look_at_all(split: Split) -> list[tuple[int, int] | str]:
    from tqdm import tqdm

    starts = range(0, len(split), BLOCK)
    # Pillow decodes without the interpreter's lock, so threads do. On a terminal, a scan of over 5 s shows a bar.
    with ThreadPoolExecutor(cores()) as pool:
        blocks = pool.map(lambda start: [_look(split, i) for i in range(start, min(start + BLOCK, len(split)))], starts)
        shown = tqdm(blocks, f"reading the {split.name} images", len(starts), delay=5, disable=None, leave=False)
        return [each for block in shown for each in block]


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _look(split: Split, index: int) -> tuple[int, int] | str:
    try:
        return decode(split[index]).size
    except UnreadableImage as error:
        return str(error)


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "nfft" / "scans"


def _read(path: Path) -> Scan:
    stored = json.loads(path.read_text())
    return Scan(np.array(stored["sizes"], np.int64).reshape(-1, 2), [Broken(**each) for each in stored["broken"]])


def _write(path: Path, result: Scan) -> None:
    broken = [{"index": each.index, "reason": each.reason} for each in result.broken]
    # A cache that cannot be written costs time in the next run, and nothing in this one.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"sizes": result.sizes.tolist(), "broken": broken}))
        temporary.replace(path)
