"""Text of users and data, fit to be shown: on one line, short enough, nothing that turns or hides it."""

import unicodedata
from collections.abc import Sequence
from typing import Any


def printable(text: str) -> str:
    """`text` able to be written as UTF-8, without control characters and marks that turn its direction."""
    text = str(text).encode("utf-8", "replace").decode("utf-8")
    return "".join(c for c in text if c.isspace() or (unicodedata.category(c) != "Cc" and c not in _TURNS))


_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def one_line(text: str) -> str:
    """`text` as printable characters, each run of white space as one space."""
    return " ".join(printable(text).split())


def shorten(text: str, limit: int) -> str:
    """`text` on one line, its middle replaced by an ellipsis when longer than `limit` characters."""
    text = one_line(text)
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - 1 - tail].rstrip()}…{text[-tail:].lstrip()}"


def is_deep(value: Any, levels: int = 32) -> bool:
    """Whether lists and dicts of JSON lie deeper in each other than anything here does: to walk these may not end."""
    inside = [value]
    for _ in range(levels):
        inside = [
            entry
            for outer in inside
            if isinstance(outer, (list, dict))
            for entry in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(inside)


def in_columns(lines: Sequence[Sequence[str]]) -> str:
    """A table for a terminal: the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in lines
    )


def in_markdown(lines: Sequence[Sequence[str]]) -> str:
    """The same for a README, the first line being its head."""
    head, *rest = lines
    return "".join("| " + " | ".join(line) + " |\n" for line in (head, ["---", *("---:" for _ in head[1:])], *rest))
