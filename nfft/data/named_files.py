"""The pictures that people name: files, folders, patterns, and lists of these."""

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from nfft.data.sources.account import Unused
from nfft.data.sources.listing import list_folder, unused_in
from nfft.errors import UserError

STDIN = ("-", "@-")


class NamedFiles:
    """Paths of pictures, one after another, as people name them.

    Files, folders (all pictures in them and below, by name), patterns such as "photos/*.jpg", "@list.txt", a file
    with one of these on a line, and "-", the same on standard input. Files by their names need not be there: that is
    found when they are read.

    Args:
        names: as they were typed.

    Attributes:
        unused: what of the folders that were gone through is not taken for a picture.
        total: how many there are, where all of them are known.

    Raises:
        UserError: for what was typed and is not there, a pattern that nothing fits, or a folder without pictures.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.unused: list[Unused] = []
        self._sources = [self._source(name) for name in names]
        known = [len(source) for source in self._sources if isinstance(source, list)]
        self.total = sum(known) if len(known) == len(self._sources) else None

    def __iter__(self) -> Iterator[str]:
        for source in self._sources:
            yield from source

    def _source(self, name: str) -> Iterable[str]:
        if name in STDIN:
            return self._listed(None)
        if os.path.lexists(name):  # also where its name is that of a pattern or a list
            return self._of_path(name)
        if name.startswith("@"):
            if not Path(name[1:]).is_file():
                raise UserError(f"{name}: there is no such list, a file with the name of a picture on each line.")
            return self._listed(name[1:])
        if glob.has_magic(name):
            return self._of_pattern(name)
        raise UserError(f"{name}: there is no such file or folder.")

    def _of_path(self, name: str) -> Iterable[str]:
        if not _is_folder(name):
            return [str(Path(name))]
        inside = self._of_folder(name)
        if not inside:
            raise UserError(f"{name} holds no pictures, such as .jpg or .png.")
        return inside

    def _of_folder(self, name: str) -> list[str]:
        folder = list_folder(name)
        self.unused += unused_in(folder.walk())
        # Below the name as it was typed.
        top = len(folder.path)
        return [str(Path(name, path[top:].lstrip("/"))) for path in folder.picture_paths()]

    def _of_pattern(self, pattern: str) -> Iterable[str]:
        # Not Path.glob, which takes no pattern that begins with a slash.
        fitting = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
        if not fitting:
            raise UserError(f"{pattern}: there is no file whose name fits.")
        return [path for name in fitting for path in (self._of_folder(name) if _is_folder(name) else [name])]

    def _listed(self, path: str | None) -> Iterator[str]:
        """What the lines of a list name; of standard input without a path."""
        if path is None:
            yield from self._of_lines(sys.stdin.buffer)
            return
        with Path(path).open("rb") as file:
            yield from self._of_lines(file)

    def _of_lines(self, lines: IO[bytes]) -> Iterator[str]:
        for line in lines:
            name = os.fsdecode(line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n"))
            if not name.strip():
                continue
            if _is_folder(name):
                yield from self._of_folder(name)
            elif glob.has_magic(name) and not os.path.lexists(name):
                yield from self._of_pattern(name)
            else:
                yield name


def _is_folder(name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False
