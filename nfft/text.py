"""Text of users and data, fit to be shown: on one line, short enough, nothing that turns or hides it."""

import unicodedata


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
