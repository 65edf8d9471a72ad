"""The images of a split decoded once, in one file that loader workers, processes and later runs read."""

import contextlib
import hashlib
import logging
import os
import re
import secrets
import shutil
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
import torch
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from nfft import __version__
from nfft.data.decode import UnreadableImage, decode, readers
from nfft.data.splits import Split
from nfft.data.threads import map_in_threads
from nfft.files import cache_folder, locked, make_folder, sync
from nfft.machine import memory_of

# Bytes that the files of all splits may take together; the least recently used make room.
LIMIT = 8 << 30


# Of an image: where its pixels start, their height and width, and their hash; zeros where it has none.
COLUMNS = 4
HASH_BYTES = 16

logger = logging.getLogger(__name__)


class Decoded:
    """RGB pixels of a split's images, out of the file that `storing` leaves; without one, decoded anew each time.

    Either way the pixels are the same. The file begins with a row of COLUMNS for each image, int64, and a hash of
    these. It is kept open and read, not mapped: of a file that someone cuts meanwhile, what is gone is decoded anew,
    where a mapping would end the process. The first time that pixels are read, their hash is compared.
    """

    def __init__(self, split: Split) -> None:
        self.split = split
        self.file: BinaryIO | None
        self.file, self.places = _open(split) or (None, np.zeros((len(split), COLUMNS), np.int64))
        self.is_checked = np.zeros(len(split), bool)
        if self.file is not None:
            weakref.finalize(self, self.file.close)

    def __getitem__(self, index: int) -> np.ndarray:
        """(height, width, 3), uint8, not to be written to.

        Raises:
            UnreadableImage: when there is no picture in it.
        """
        start, height, width, expected = self.places[index].tolist()
        if not start or self.file is None:
            return np.asarray(decode(self.split[index], self.split.rendering))
        pixels = np.empty((height, width, 3), np.uint8)
        try:
            is_whole = os.preadv(self.file.fileno(), [pixels.data.cast("B")], start) == pixels.nbytes
        except OSError:
            is_whole = False
        if not is_whole or not (self.is_checked[index] or _hash_of(pixels) == expected):
            _discard(_path(self.split))
            self.places[index] = 0
            return self[index]
        self.is_checked[index] = True
        pixels.flags.writeable = False
        return pixels

    def __reduce__(self) -> tuple[type["Decoded"], tuple[Split]]:
        # A worker that was not forked opens the file itself.
        return Decoded, (self.split,)


def _open(split: Split) -> tuple[BinaryIO, np.ndarray] | None:
    """The file of a split, and its table of places; None where there is none, or one that is damaged, which goes."""
    path = _path(split)
    try:
        file = path.open("rb")
    except OSError:
        return None
    if not hasattr(os, "preadv"):  # only Unix has it
        file.close()
        return None
    count = len(split) * COLUMNS * 8
    table = file.read(count + HASH_BYTES)
    if table[count:] == xxh3_128_digest(table[:count]):
        places = np.frombuffer(table, np.int64, len(split) * COLUMNS).reshape(-1, COLUMNS).copy()
        if _ends(places).max(initial=0) <= os.fstat(file.fileno()).st_size:
            with contextlib.suppress(OSError):
                os.utime(path)  # the most recently used
            return file, places
    file.close()
    _discard(path)
    return None


def _ends(places: np.ndarray) -> np.ndarray:
    """Where the pixels of each image end."""
    return places[:, 0] + places[:, 1] * places[:, 2] * 3


def _discard(path: Path) -> None:
    """Delete a file that is damaged; the next run makes it again."""
    with contextlib.suppress(OSError):
        path.unlink()
        logger.warning(
            "%s, images that were decoded before, was damaged: it is deleted, and they are decoded anew", path
        )


def _hash_of(pixels: np.ndarray) -> int:
    """Of 63 bits, so that a column of int64 holds it."""
    return xxh3_64_intdigest(pixels.data) >> 1


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
        self.file, self.places, self.lock = file, np.zeros((len(split), COLUMNS), np.int64), Lock()
        self.has_failed = self.is_given_up = False
        file.seek(self.places.nbytes + HASH_BYTES)

    def add(self, index: int, pixels: np.ndarray) -> None:
        """Write the pixels (height, width, 3) of an image, uint8, if there is room."""
        pixels = np.ascontiguousarray(pixels)
        digest = _hash_of(pixels)
        with self.lock:
            if self.has_failed or self.file.tell() + pixels.nbytes > LIMIT:
                return
            start = self.file.tell()
            try:
                self.file.write(pixels.data)
            except OSError:
                self.has_failed = True
                return
            self.places[index] = start, *pixels.shape[:2], digest

    def give_up(self) -> None:
        """Leave no file: the images turned out to be of no use."""
        self.has_failed = self.is_given_up = True

    def finish(self) -> None:
        """Write where each image is, all the way to the disk."""
        self.file.seek(0)
        table = self.places.tobytes()
        self.file.write(table + xxh3_128_digest(table))
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
    is_wanted = fits_cache(split, pixels) and size <= memory_of(torch.device("cpu")) // 4
    if not is_wanted or _is_whole(split):
        yield None
        return
    with contextlib.ExitStack() as open_files:
        file: BinaryIO | None = None
        with contextlib.suppress(OSError):
            make_folder(path.parent)
            _remove_unfinished(path.parent)
            _make_room(path.parent, LIMIT - size)
            if size < shutil.disk_usage(path.parent).free // 2:
                # Held for as long as it is written, which tells others that it is none that was left behind.
                open_files.enter_context(locked(temporary))
                file = open_files.enter_context(temporary.open("r+b"))
        if file is None:
            yield None
            return
        store = Store(split, file)
        yield store
        if store.is_given_up:
            return
        with contextlib.suppress(OSError):
            store.finish()
            temporary.replace(path)
            sync(path.parent)


def _is_whole(split: Split) -> bool:
    """Whether there is a file of the split already."""
    opened = _open(split)
    if opened is not None:
        opened[0].close()
    return opened is not None


def _remove_unfinished(folder: Path) -> None:
    """Delete what processes that were killed were writing."""
    for path in folder.iterdir():
        if re.fullmatch(r"[0-9a-f]{64}\.[0-9a-f]{8}\.tmp", path.name):
            with locked(path):
                pass  # a lock that nobody holds is deleted when it is given back


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
