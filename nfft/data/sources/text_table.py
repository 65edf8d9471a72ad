"""Tables of text as people have them: with other separators, encodings and blanks."""

import contextlib
import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from nfft.config.data_files import JSON_TABLES, ending
from nfft.errors import UserError
from nfft.files import decode_json
from nfft.text import shorten

# By what cells may be kept apart; the first that fits is taken.
SEPARATORS = (",", ";", "\t", "|")
WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
USUAL = {".tsv": "\t", ".tab": "\t", ".psv": "|"}
# Characters of a cell: no path or class is so long, but a quote that is never closed, or a picture as text, is.
LONGEST_CELL = 1 << 20
LONGEST_NAME, MOST_COLUMNS = 500, 10_000
# Rows by which a separator is judged, and of which a column is made at a time.
JUDGED, AT_ONCE = 20, 50_000


@dataclass(frozen=True)
class TextTable:
    """Columns of text, None where a cell is empty.

    Attributes:
        fingerprint: of the file's content and kind.
        lines: of the file, on which each row ends; from 1.
        notes: what was taken for granted.
    """

    columns: pa.Table
    fingerprint: str
    lines: Sequence[int]
    notes: tuple[str, ...]


def read_text_table(path: Path) -> TextTable:
    """The table in a file, cells as they are written but for blanks around them: 007 is no number, NA may be a class.

    Raises:
        UserError: when it is none, with the line that is at fault.
    """
    csv.field_size_limit(LONGEST_CELL)
    name = shorten(path.name, 100)
    content = path.read_bytes()
    _check_kind(content, name)
    text, notes = _decode(content, name)
    # Programs that do not know the mark put another before it.
    text = text.lstrip("\ufeff")
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise UserError(f"{name}: line {line} holds a NUL character, which no text does. Mend or remove that line.")
    if ending(path.name) in JSON_TABLES:
        names, rows = _json_rows(text, name)
    else:
        separator, text, first, note = _separator(text, USUAL.get(ending(path.name), ","), name)
        notes += [note] if note else []
        names, rows = _csv_rows(text, separator, first, name, notes)
    table, lines = _columns(names, rows, name, notes)
    if not len(table):
        raise UserError(f"{name} has no rows. Expected a line of column names, then one line an image.")
    fingerprint = hashlib.sha256(ending(path.name).encode() + content).hexdigest()
    return TextTable(table, fingerprint, lines, tuple(notes))


# How files of other kinds begin that are called like tables, and what to do about them.
OTHERS = {
    b"PK\x03\x04": "a spreadsheet or a zip file by its content: save the sheet as CSV, or unpack the file",
    b"\xd0\xcf\x11\xe0": "a spreadsheet by its content: save the sheet as CSV",
    b"\x1f\x8b": "compressed: unpack it with gunzip",
    b"PAR1": "Parquet by its content: let its name end in .parquet",
    b"version https://git-lfs": "no more than a pointer of Git LFS: `git lfs pull` fetches the file",
    b"<!doctype html": "a page of the web by its content, such as one that asks to log in: download the file itself",
    b"<html": "a page of the web by its content, such as one that asks to log in: download the file itself",
}


def _check_kind(content: bytes, name: str) -> None:
    """See that a file is not of another kind than its name says."""
    head = content[:64].lower()
    for start, words in OTHERS.items():
        if head.startswith(start.lower()):
            raise UserError(f"{name} is {words}.")


def _decode(content: bytes, name: str) -> tuple[str, list[str]]:
    """The text of a file, and a note where its encoding had to be guessed."""
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe\0\0", "utf-32"),
        (b"\0\0\xfe\xff", "utf-32"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if content.startswith(mark):
            return _strictly(content, encoding, name), []
    head = content[:1000]
    if len(head) > 3 and (head[1::2].count(0) > len(head) // 4 or head[::2].count(0) > len(head) // 4):
        encoding = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
        return _strictly(content, encoding, name), []
    try:
        return content.decode(), []
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    try:
        encoding, text = "Windows-1252", content.decode("cp1252")
    except UnicodeDecodeError:
        encoding, text = "Latin-1", content.decode("latin-1")
    return text, [f"{name} is not UTF-8 (line {line}): it is read as {encoding}. Save it as UTF-8 if names look wrong."]


def _strictly(content: bytes, encoding: str, name: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} begins like {encoding.upper().removesuffix('-SIG')} and is not ({error.reason} at byte "
            f"{error.start:,}). Save it as UTF-8."
        ) from error


def _separator(text: str, usual: str, name: str) -> tuple[str, str, int, str | None]:
    """By what cells are kept apart, the table's text, the number of its first line, and a note of what is unusual."""
    # Excel's own way to say it.
    if said := re.match(r"sep=(.)\r?\n", text, re.IGNORECASE):
        return said[1], text[said.end() :], 2, None
    widths = {separator: _widths(text, separator) for separator in dict.fromkeys((usual, *SEPARATORS))}
    # A comma at the end of each line but the first is one cell more.
    fitting = [s for s, (head, *rest) in widths.items() if head > 1 and all(width <= head + 1 for width in rest)]
    # Of as many columns the usual separator's, which comes first: max takes the first of equals.
    separator = max(fitting or widths, key=lambda separator: widths[separator][0])
    if separator == usual:
        return usual, text, 1, None
    return separator, text, 1, f"columns of {name} are kept apart by {WORDS[separator]}."


def _widths(text: str, separator: str) -> list[int]:
    """How many cells the first rows have."""
    widths: list[int] = []
    # A cell that is too long is said where the rows are read.
    with contextlib.suppress(csv.Error):
        for cells in csv.reader(io.StringIO(text[:LONGEST_CELL], newline=""), delimiter=separator):
            if _is_written(cells):
                widths.append(len(cells))
            if len(widths) == JUDGED:
                break
    return widths or [0]


def _is_written(cells: list[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _csv_rows(
    text: str, separator: str, first: int, name: str, notes: list[str]
) -> tuple[list[str], Iterator[tuple[int, Sequence[str | None]]]]:
    """Names of columns, and the cells of each row with the line that it ends on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header = next(_written(reader, name, first), None)
    if header is None:
        raise UserError(f"{name} is empty. Expected a line of column names, then one line an image.")
    names = [cell.strip() for cell in header[1]]
    while names and not names[-1]:
        names.pop()  # commas at the end
    if max(map(len, names), default=0) > LONGEST_NAME or len(names) > MOST_COLUMNS:
        raise UserError(
            f"{name}, line {header[0]}: {len(names):,} names of columns, of up to {max(map(len, names)):,} characters. "
            "Expected a table whose first line has a few short names."
        )
    doubled = [column for column, count in Counter(filter(None, names)).items() if count > 1]
    if doubled:
        raise UserError(
            f"{name}, line {header[0]}: two columns are called {shorten(doubled[0], 60)!r}. Rename or remove one."
        )
    # What pandas writes without a name is its numbering of the rows.
    named = [column or f"Unnamed: {place}" for place, column in enumerate(names)]
    return named, _full_rows(_written(reader, name, first), len(named), name, notes)


def _written(reader: Any, name: str, first: int) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with their lines."""
    try:
        for cells in reader:
            if cells and (cells[0] or _is_written(cells)) and (len(cells) > 1 or _is_written(cells)):
                yield reader.line_num + first - 1, cells
    except csv.Error as error:
        line = reader.line_num + first - 1
        if "field larger" in str(error):
            raise UserError(
                f"{name}, line {line}: a cell has more than {LONGEST_CELL:,} characters. Close the quote that is open "
                "there; pictures in a table go into Parquet, or into files whose paths the table has."
            ) from error
        raise UserError(f"{name}, line {line}: {error}.") from error


def _full_rows(
    rows: Iterator[tuple[int, list[str]]], width: int, name: str, notes: list[str]
) -> Iterator[tuple[int, list[str]]]:
    """Rows with as many cells as there are columns."""
    short: list[int] = []
    for line, cells in rows:
        if len(cells) != width:
            if width == 1 and any(cell.strip() for cell in cells[1:]):
                raise UserError(
                    f"{name}, line {line}: {len(cells)} cells, where the first line has one. Expected the names of the "
                    "columns in the first line: remove titles and comments above them."
                )
            if any(cell.strip() for cell in cells[width:]):
                raise UserError(
                    f"{name}, line {line}: {len(cells)} cells, where the first line names {width} columns. "
                    'Put a cell with the separator in it in quotes ("a, b"), or mend the line.'
                )
            if len(cells) < width:
                short.append(line)
            cells = cells[:width] + [""] * (width - len(cells))
        yield line, cells
    if short:
        notes.append(
            f"{name}: {len(short):,} line{'' if len(short) == 1 else 's'} with fewer cells than columns, the first "
            f"being line {short[0]}; the cells at their end count as empty."
        )


def _json_rows(text: str, name: str) -> tuple[list[str], Iterator[tuple[int, Sequence[str | None]]]]:
    """The same of JSON: one object a line, or a list of them."""
    objects = list(_json_objects(text, name))
    names = list(dict.fromkeys(key for _, entry in objects for key in entry))
    if max(map(len, names), default=0) > LONGEST_NAME or len(names) > MOST_COLUMNS:
        raise UserError(f"{name} has {len(names):,} columns with names of up to {max(map(len, names)):,} characters.")
    return names, ((line, [_as_cell(entry.get(key)) for key in names]) for line, entry in objects)


def _json_objects(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    expected = 'one object a line, such as {"file_name": "a.jpg", "label": "ant"}'
    if text.lstrip().startswith("["):
        try:
            entries: list[tuple[int, Any]] = list(enumerate(decode_json(text), 1))
        except ValueError as error:
            raise UserError(f"{name} is no JSON: {shorten(str(error), 100)}. Expected {expected}.") from error
    else:
        entries = []
        # Not splitlines: cells may hold what that takes for the end of a line, too.
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                entries.append((number, decode_json(line)))
            except ValueError as error:
                raise UserError(
                    f"{name}, line {number}: no JSON ({shorten(str(error), 100)}). Expected {expected}."
                ) from error
    for number, entry in entries:
        if not isinstance(entry, dict):
            raise UserError(f"{name}, line {number}: {type(entry).__name__}, expected {expected}.")
        if _is_no_text("".join([*entry, *filter(None, map(_as_cell, entry.values()))])):
            raise UserError(f"{name}, line {number} holds a character that no text does. Mend or remove that line.")
        yield number, entry


def _is_no_text(text: str) -> bool:
    """Whether there is half a character in it, which JSON can write, or NUL."""
    return re.search("[\\0\\ud800-\\udfff]", text) is not None


def _as_cell(value: Any) -> str | None:
    """A value of JSON as it would be written in a cell."""
    if isinstance(value, dict):  # an image with its path, as `datasets` writes it
        value = next((value[key] for key in ("path", "file_name") if isinstance(value.get(key), str)), value)
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _columns(
    names: list[str], rows: Iterator[tuple[int, Sequence[str | None]]], name: str, notes: list[str]
) -> tuple[pa.Table, list[int]]:
    """Rows as a table of columns, made piece by piece: Python's strings take several times as much."""
    schema = pa.schema([(column, pa.large_string()) for column in names])
    batches, lines, blanks = [], [], 0
    piece: list[Sequence[str | None]] = []

    def add() -> int:
        columns = [pa.array(column, pa.large_string()) for column in zip(*piece, strict=True)]
        trimmed = [compute.utf8_trim_whitespace(column) for column in columns]
        full = [compute.if_else(compute.equal(column, ""), None, column) for column in trimmed]
        batches.append(pa.record_batch(full, schema))
        pairs = zip(columns, trimmed, strict=True)
        return sum(compute.sum(compute.not_equal(*pair)).as_py() or 0 for pair in pairs)

    for line, cells in rows:
        lines.append(line)
        piece.append(cells)
        if len(piece) == AT_ONCE:
            blanks += add()
            piece.clear()
    if piece:
        blanks += add()
    if blanks:
        notes.append(f"{name}: blanks around {blanks:,} cell{'' if blanks == 1 else 's'} are left out.")
    return pa.Table.from_batches(batches, schema), lines
