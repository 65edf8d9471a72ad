"""The images of a split decoded once, in one file that loader workers, processes and later runs read."""

import contextlib
import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import PIL
import torch

from nfft import __version__
from nfft.data import Split
from nfft.memory import memory_of
from nfft.preprocess import UnreadableImage, decode
from nfft.scan import BLOCK, cache_folder, cores

# Bytes that the files of all splits may take together; the least recently used make room.
LIMIT = 8 << 30


class Decoded:
    """RGB pixels of a split's images, out of the file that `keep` has made; without one, decoded anew each time.

    Which of both it is changes no pixel. The file begins with a row for each image, int64: where its pixels start,
    their height and width; zeros where it has none. It is mapped into memory, so that processes share what they read,
    and the system takes it back when it must.
    """

    def __init__(self, split: Split) -> None:
        self.split = split
        self.file, self.places = np.empty(0, np.uint8), np.zeros((len(split), 3), np.int64)
        with contextlib.suppress(OSError, ValueError):  # none there, or an empty one
            os.utime(_path(split))  # the most recently used
            self.file = np.asarray(np.memmap(_path(split), np.uint8, "r"))
            self.places = self.file[: self.places.nbytes].view(np.int64).reshape(-1, 3)

    def __getitem__(self, index: int) -> np.ndarray:
        """(height, width, 3), uint8, not to be written to.

        Raises:
            UnreadableImage: when no picture can be made of it.
        """
        start, height, width = self.places[index].tolist()
        if not start:
            return np.asarray(decode(self.split[index]))
        return self.file[start : start + height * width * 3].reshape(height, width, 3)

    def __reduce__(self) -> tuple[type["Decoded"], tuple[Split]]:
        # A worker that was not forked maps the file itself.
        return Decoded, (self.split,)


def fits(split: Split, pixels: int) -> bool:
    """Whether a split of so many pixels is one to be kept; arrays are not, which are in memory already.

    Follows from the data alone, not from the machine: larger pictures are not decoded whole, which shows in the views.
    """
    return split.fingerprint is not None and pixels * 3 <= LIMIT


def keep(split: Split, pixels: int) -> None:
    """Decode `split` into a file, if that takes up to a quarter of the memory and half of what the disk has free.

    The file is found for as long as the data stays the same. Where it cannot be written, nothing happens: what is
    missing costs time in the run, and nothing else.

    Args:
        pixels: of all images together, about.
    """
    path, size = _path(split), pixels * 3
    if path.exists() or size > memory_of(torch.device("cpu")) // 4:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent, LIMIT - size)
        if size < shutil.disk_usage(path.parent).free // 2:
            _write(split, path)


def _path(split: Split) -> Path:
    made_by = f"nfft {__version__}, Pillow {PIL.__version__}"
    digest = hashlib.sha256(f"{split.fingerprint} {made_by}".encode() + split.rows.tobytes())
    return cache_folder("decoded") / f"{digest.hexdigest()}.rgb"


def _make_room(folder: Path, room: int) -> None:
    """Leave the most recently used files that take up to `room` bytes."""
    taken = 0
    for file in sorted(folder.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True):
        taken += file.stat().st_size
        if taken > room:
            file.unlink()


def _write(split: Split, path: Path) -> None:
    """Decode what can be read of `split`, in parallel; the file gets its name when all of it is on the disk."""
    from tqdm import tqdm

    places, lock = np.zeros((len(split), 3), np.int64), Lock()
    blocks = [range(len(split))[start : start + BLOCK] for start in range(0, len(split), BLOCK)]
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file, ThreadPoolExecutor(cores()) as pool:

            def add(indices: range) -> None:
                for index in indices:
                    with contextlib.suppress(UnreadableImage):
                        pixels = np.asarray(decode(split[index]))
                        with lock:
                            if file.tell() + pixels.nbytes <= LIMIT:
                                places[index] = file.tell(), *pixels.shape[:2]
                                file.write(pixels.data)

            file.seek(places.nbytes)
            done = pool.map(add, blocks)
            for _ in tqdm(done, f"decoding the {split.name} images", len(blocks), delay=5, disable=None, leave=False):
                pass
            file.seek(0)
            file.write(places.data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
