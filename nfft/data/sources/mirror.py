"""A folder as it is handed to `datasets`: by a path that it cannot take for a pattern, a chain or a variable."""

import os
import secrets
from pathlib import Path

from nfft.data.sources.cached import forget_old, identity
from nfft.data.sources.listing import list_folder
from nfft.files import cache_folder

# What `datasets` and what it is built on read in a path: a chain of file systems, a variable, a home folder.
_READ = str.maketrans({":": "_", "$": "_", "~": "_"})


def mirror(folder: Path) -> Path:
    """A folder of links to all files below another, which has a plain name, and another one when a file changes."""
    files = _files(folder)
    made = cache_folder("folders").absolute() / identity([folder, *(folder / name for name in files)])[:32]
    # Below its own name, which no format of `datasets` has, whatever the user's is called.
    place = made / "data"
    if place.is_dir():
        os.utime(made)
        return place
    made.parent.mkdir(parents=True, exist_ok=True)
    forget_old(made.parent)
    building = made.with_name(f".{made.name}.{secrets.token_hex(4)}")
    try:
        for name in files:
            link = building / "data" / name.translate(_READ)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((folder / name).resolve())
        building.replace(made)
    except OSError:
        # Another process has made it meanwhile; or this system lets nobody make links.
        return place if place.is_dir() else folder.resolve()
    return place


def _files(folder: Path) -> list[str]:
    """Files below a folder, by their paths from there; hidden ones are nobody's data."""
    root = list_folder(folder)
    start = len(os.path.join(root.path, ""))  # noqa: PTH118
    return [
        os.path.join(inside.path, name)[start:]  # noqa: PTH118
        for inside in root.walk()
        for name in (*inside.pictures, *inside.files)
    ]
