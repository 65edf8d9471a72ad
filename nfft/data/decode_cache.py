"""The images of a split decoded once, in one file that loader workers, processes and later runs read."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
import torch

from nfft import __version__
from nfft.data.decode import UnreadableImage, decode, readers
from nfft.data.splits import Split
from nfft.data.threads import map_in_threads
from nfft.files import cache_folder
from nfft.machine import memory_of

# Bytes that the files of all splits may take together; the least recently used make room.
LIMIT = 8 << 30


class Decoded:
    """RGB pixels of a split's images, out of the file that `storing` leaves; without one, decoded anew each time.

    Either way the pixels are the same. The file begins with a row for each image, int64: where its pixels start,
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
            UnreadableImage: when there is no picture in it.
        """
        start, height, width = self.places[index].tolist()
        if not start:
            return np.asarray(decode(self.split[index], self.split.rendering))
        return self.file[start : start + height * width * 3].reshape(height, width, 3)

    def __reduce__(self) -> tuple[type["Decoded"], tuple[Split]]:
        # A worker that was not forked maps the file itself.
        return Decoded, (self.split,)


def fits_cache(split: Split, pixels: int) -> bool:
    """Whether a split of so many pixels is small enough to be kept; arrays need not be, which are in memory already.

    Follows from the data alone, not from the machine: larger pictures are not decoded whole, which shows in the views.
    """
    return split.fingerprint is not None and pixels * 3 <= LIMIT


def fill_cache(split: Split, pixels: int) -> None:
    """Decode `split` into a file, where `storing` makes one.

    Args:
        pixels: of all images together, about.
    """
    with storing(split, pixels) as store:
        if store is None:
            return

        def add(index: int) -> None:
            with contextlib.suppress(UnreadableImage):
                store.add(index, np.asarray(decode(split[index], split.rendering)))

        map_in_threads(add, range(len(split)), f"decoding the {split.name} images")


class Store:
    """Writes the file of a split: its images are added from any thread, in any order."""

    def __init__(self, split: Split, file: BinaryIO) -> None:
        self.file, self.places, self.lock = file, np.zeros((len(split), 3), np.int64), Lock()
        self.has_failed = self.is_given_up = False
        file.seek(self.places.nbytes)

    def add(self, index: int, pixels: np.ndarray) -> None:
        """Write the pixels (height, width, 3) of an image, uint8, if there is room."""
        with self.lock:
            if self.has_failed or self.file.tell() + pixels.nbytes > LIMIT:
                return
            start = self.file.tell()
            try:
                self.file.write(np.ascontiguousarray(pixels).data)
            except OSError:
                self.has_failed = True
                return
            self.places[index] = start, *pixels.shape[:2]

    def give_up(self) -> None:
        """Leave no file: the images turned out to be of no use."""
        self.has_failed = self.is_given_up = True

    def finish(self) -> None:
        """Write where each image is, all the way to the disk."""
        self.file.seek(0)
        self.file.write(self.places.data)
        self.file.flush()
        os.fsync(self.file.fileno())


@contextmanager
def storing(split: Split, pixels: int) -> Iterator[Store | None]:
    """Make the file of `split`, if that takes up to a quarter of the memory and half of what the disk has free.

    The file gets its name at the end, and is found for as long as the data stays the same. Where it cannot be written,
    nothing happens: what is missing costs time in the run, and nothing else.

    Args:
        pixels: of all images together, about.

    Yields:
        What takes the images; None where there is a file already, or there will be none.
    """
    path, size = _path(split), pixels * 3
    temporary = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
    file: BinaryIO | None = None
    if not path.exists() and fits_cache(split, pixels) and size <= memory_of(torch.device("cpu")) // 4:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_room(path.parent, LIMIT - size)
            if size < shutil.disk_usage(path.parent).free // 2:
                file = temporary.open("wb")
    if file is None:
        yield None
        return
    try:
        with file:
            store = Store(split, file)
            yield store
            if store.is_given_up:
                return
            with contextlib.suppress(OSError):
                store.finish()
                temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _path(split: Split) -> Path:
    # The number goes up when pictures are decoded otherwise than before.
    writer = f"nfft {__version__}, {readers()}, 2, {split.rendering}"
    digest = hashlib.sha256(f"{split.fingerprint} {writer}".encode() + split.rows.tobytes())
    return cache_folder("decoded") / f"{digest.hexdigest()}.rgb"


def _make_room(folder: Path, room: int) -> None:
    """Delete all files but the most recently used ones, of up to `room` bytes together."""
    taken = 0
    for file in sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True):
        taken += file.stat().st_size
        if taken > room:
            file.unlink()
