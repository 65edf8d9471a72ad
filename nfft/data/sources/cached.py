"""What is kept of a user's files between runs: by which key, and for how long."""

import hashlib
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# Seconds after which what nobody has used is forgotten.
KEPT = 60 * 24 * 3600


def identity(paths: Iterable[Path]) -> str:
    """A digest that is another one when a file is: of where each lies, its size, times and place on the disk.

    The time of the last change to the entry counts too: copies and unpacked archives set that of the content back.
    """
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        told = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino)
        digest.update(f"{path.resolve()} {told}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def forget_old(folder: Path) -> None:
    """Remove what is in a folder of the cache and was not used for long."""
    for entry in folder.iterdir():
        with suppress(OSError):
            if entry.lstat().st_mtime < time.time() - KEPT:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
