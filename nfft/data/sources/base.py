"""What every source of labeled images is opened as."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from nfft.data.decode import RawImage
from nfft.data.sources.account import NOTHING_UNUSED, Account


class Table(Protocol):
    """One split: its class names, labels and images."""

    def __len__(self) -> int: ...

    def class_names(self) -> list[str]: ...

    def labels(self, classes: list[str]) -> np.ndarray | None:
        """Indices into `classes`, shape (n,), int64; None where the labels are hidden."""

    def images(self) -> Sequence[RawImage]: ...

    def fingerprint(self) -> str | None:
        """Changes when the images do; None where nothing could be broken."""


@dataclass(frozen=True)
class Opened:
    """A source that has been opened: every split by the source's own name, "train" where it has no splits."""

    tables: dict[str, Table]
    account: Account = NOTHING_UNUSED


def is_dataset(source: object) -> bool:
    """Whether a program has handed over a data set of `datasets`: only one that has imported it can."""
    library = sys.modules.get("datasets")
    return library is not None and isinstance(source, library.Dataset | library.DatasetDict)


def in_order(classes: Iterable[str]) -> list[str]:
    """Names of classes in the order of the logits: whole numbers by value, anything else by the alphabet."""
    try:
        return sorted(classes, key=lambda name: (int(name), name))
    except ValueError:
        return sorted(classes)


# What the system says of a file that is not there.
ABSENT = (-1, -1, -1)


class Files(list[str]):
    """Paths of image files, of which the system is asked once: there may be a million."""

    @cached_property
    def statuses(self) -> np.ndarray:
        """The size, the time of the last change in ns and the inode of each, (n, 3), int64; -1 where there is none."""
        return np.array([status_of(path) for path in self], np.int64).reshape(-1, 3)


class Joined(Sequence):
    """Images of two sources, one after the other."""

    def __init__(self, first: Sequence[RawImage], second: Sequence[RawImage]) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> RawImage:  # type: ignore[override]
        return self.first[index] if index < len(self.first) else self.second[index - len(self.first)]


def status_of(path: str) -> tuple[int, int, int]:
    """The size of a file, the time of its last change in ns and its inode; -1 where there is none."""
    try:
        # Not through Path, which takes as long as all the rest.
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return ABSENT
    return status.st_size, status.st_mtime_ns, status.st_ino & (1 << 63) - 1


def images_fingerprint(images: Iterable[RawImage], digest: "hashlib._Hash") -> str:
    """`digest` after the bytes or pixels of images, or the paths, sizes and times of their files."""
    if isinstance(images, Files):
        for path, (size, time, _) in zip(images, images.statuses.tolist(), strict=True):
            digest.update(f"{path} {size} {time}".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
    for image in images:
        if isinstance(image, bytes):
            digest.update(image)
        elif isinstance(image, str | Path):
            digest.update(str(image).encode("utf-8", "surrogateescape"))
            with contextlib.suppress(OSError):
                # Not through Path, which takes as long as all the rest: there may be a million files.
                status = os.stat(image)  # noqa: PTH116
                digest.update(f" {status.st_size} {status.st_mtime_ns}".encode())
        else:
            pixels = np.asarray(image)
            digest.update(f"{pixels.shape}".encode() + pixels.tobytes())
    return digest.hexdigest()
