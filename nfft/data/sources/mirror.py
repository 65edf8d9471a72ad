"""A folder as it is handed to `datasets`: by a path that it cannot take for a pattern, a chain or a variable."""

import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nfft.config.data_files import ARCHIVES, TABLES, ending
from nfft.data.sources.cached import forget_old, identity
from nfft.data.sources.listing import Folder
from nfft.files import cache_folder, finished_name, locked

# What is about data and holds none, and files that `save_to_disk` writes.
OWN = (".txt", ".json", ".arrow")
# What `datasets` and what it is built on read in a path: a chain of file systems, a variable, a home folder.
_READ = str.maketrans({":": "_", "$": "_", "~": "_"})


@dataclass(frozen=True)
class Mirror:
    """What a folder is handed on as.

    Attributes:
        place: a folder of links to its files.
        files: of the folder that it shows, by their paths from there; hidden ones are nobody's data.
    """

    place: Path
    files: Sequence[str]

    def left_over(self, taken: Iterable[str]) -> list[str]:
        """Tables and archives in the folder that are not among the files that were taken there."""
        known = {os.path.relpath(path, self.place) for path in taken}
        files = (name for name in self.files if ending(name) in (*TABLES, *ARCHIVES))
        return [name for name in files if not name.endswith(OWN) and name.translate(_READ) not in known]


def mirror(listed: Folder) -> Mirror:
    """A folder of links to all files below another, which has a plain name, and another one when a file changes."""
    start = len(os.path.join(listed.path, ""))  # noqa: PTH118
    files = [
        os.path.join(inside.path, name)[start:]  # noqa: PTH118
        for inside in listed.walk()
        for name in (*inside.pictures, *inside.files)
    ]
    return Mirror(_linked(Path(listed.path), files), files)


def _linked(folder: Path, files: Sequence[str]) -> Path:
    """A folder of links to these files, made now if it is not there; the folder itself where no link can be made."""
    made = cache_folder("folders").absolute() / identity([folder, *(folder / name for name in files)])[:32]
    # Below its own name, which no format of `datasets` has, whatever the user's is called.
    place = made / "data"
    if place.is_dir():
        os.utime(made)
        return place
    made.parent.mkdir(parents=True, exist_ok=True)
    forget_old(made.parent)
    _remove_unfinished(made.parent)
    building = made.with_name(f".{made.name}.{secrets.token_hex(4)}")
    try:
        with locked(_lock_of(building)):
            for name in files:
                link = building / "data" / name.translate(_READ)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to((folder / name).resolve())
            building.replace(made)
    except OSError:
        # Another process has made it meanwhile; or this system lets nobody make links.
        shutil.rmtree(building, ignore_errors=True)
        return place if place.is_dir() else folder.resolve()
    return place


def _remove_unfinished(cache: Path) -> None:
    """Remove what processes were building when they were killed."""
    for path in cache.iterdir():
        if finished_name(path.name) is not None and path.is_dir():
            with suppress(OSError), locked(_lock_of(path)) as mine:
                if mine:
                    shutil.rmtree(path)


def _lock_of(building: Path) -> Path:
    return building.with_name(f"{building.name}.lock")
