"""The table that `nfft predict` writes: a row a picture, from the first on, and what is there when it goes on."""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NoReturn

from nfft.config.views import SINGLE, several
from nfft.errors import UserError
from nfft.text import one_line

# A class and its probability: {"label", "score"}.
Classes = list[dict[str, Any]]
# A file with its classes, or with why it cannot be read.
Row = tuple[str, Classes | str]
HEAD = b"file,label_1,score_1"


class Table:
    """A CSV file: file, label_1, score_1, label_2, ..., views, error.

    The views have a column where they are other than single: what goes on with the table is to have the same.

    Nothing of a table that is there already is touched before `start`.

    Args:
        path: of the file; folders above it are made.
        continues: whether rows that are there stay.
        views: of each picture.

    Attributes:
        done: files that have a row already.
        read_before: how many of these could be read.
        first: the first of these, with its most probable class and that one's probability.

    Raises:
        UserError: when it is a folder, or another file.
        OSError: when it cannot be written.
    """

    def __init__(self, path: Path, continues: bool, views: str = SINGLE) -> None:
        self.path, self.continues = path, continues
        self._views = [name] if (name := several(views)) else []
        self.file: IO[str] | None = None
        self.done: set[str] = set()
        self.first: tuple[str, str, str] | None = None
        self.read_before = self._end = self._top_k = 0
        check_place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass

    def start(self, top_k: int) -> None:
        """Put the head there, or find what is there and take off what is torn: from here on, rows are added.

        Raises:
            UserError: when a table of another number of classes is to go on.
        """
        self._top_k = top_k
        ranked = (f"{what}_{rank + 1}" for rank in range(top_k) for what in ("label", "score"))
        columns = ["file", *ranked, *("views" for _ in self._views), "error"]
        if self.continues:
            self._read(columns)
        # Names of files need not be UTF-8: such ones are written as they are.
        self.file = self.path.open("r+", encoding="utf-8", errors="surrogateescape", newline="")
        self.file.truncate(self._end)
        self.file.seek(self._end)
        if not self._end:
            csv.writer(self.file).writerow(columns)
        self.file.flush()

    def _read(self, columns: list[str]) -> None:
        """Find the rows that are whole; what a kill has torn off the last one is done again."""
        with self.path.open("rb") as file:
            lines = _Lines(file)
            rows = csv.reader(lines)
            head = next(rows, None)
            if head is None or not lines.is_whole:
                return
            if ("views" in head) != bool(self._views):
                self._refuse_views()
            if head != columns:
                raise UserError(
                    f"--csv {self.path} has other columns than this call writes: go on with the --top-k of before, or "
                    "choose another name."
                )
            self._end = lines.end
            for row in rows:
                if len(row) != len(columns) or not lines.is_whole:
                    return
                if self._views and row[-2] != self._views[0]:
                    self._refuse_views()
                self.done.add(row[0])
                self.read_before += not row[-1]
                if self.first is None and not row[-1]:
                    self.first = row[0], row[1], row[2]
                self._end = lines.end

    def _refuse_views(self) -> NoReturn:
        raise UserError(
            f"--csv {self.path} has answers to other views than this call's: go on with the --views of before, or "
            "choose another name."
        )

    def add(self, rows: Sequence[Row]) -> None:
        """Write pictures with their classes, or with why they cannot be read."""
        assert self.file is not None
        writer = csv.writer(self.file)
        for file, outcome in rows:
            if isinstance(outcome, str):
                writer.writerow([file, *[""] * (2 * self._top_k), *self._views, one_line(outcome)])
            else:
                cells = (value for each in outcome for value in (each["label"], f"{each['score']:.6f}"))
                writer.writerow([file, *cells, *self._views, ""])
        self.file.flush()

    def __enter__(self) -> "Table":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.file is not None:
            with self.file:
                self.file.flush()
                os.fsync(self.file.fileno())


class _Lines:
    """Lines of a file as text, and where the last one that was read ends."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.end, self.is_whole = file, 0, True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.file.readline()
        if not line:
            raise StopIteration
        self.end += len(line)
        self.is_whole = line.endswith(b"\n")
        return line.decode("utf-8", "surrogateescape")


def check_place(path: Path) -> None:
    """See, before any work, that a table can be put there, and takes the place of nothing but another.

    Raises:
        UserError: when it is a folder, or another file.
    """
    if path.is_dir():
        raise UserError(f"--csv {path} is a folder. Name a file.")
    if path.exists() and not path.is_file():
        raise UserError(f"--csv {path} is no file. Choose another name.")
    if path.is_file() and path.stat().st_size and not _is_table(path):
        raise UserError(f"--csv {path} is there already, and is no table of predictions. Choose another name.")


def _is_table(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(len(HEAD))
    return head == HEAD or (bool(head) and HEAD.startswith(head))
