"""Errors that are the user's to fix: one sentence, no traceback."""

import difflib
import re
from collections.abc import Iterable

LISTED = 20
# A name that is longer is a slip of none.
LONGEST = 100
# Of what a message quotes: paths have fewer characters.
LONGEST_WORD = 1000


class UserError(Exception):
    """A mistake that is the user's to fix; its text says what was expected, what it got, and how to fix that.

    What it quotes of data may be of any length: a word that no line holds is cut.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: f"{word[0][:200]}…{word[0][-100:]}", text))


class LocalError(UserError):
    """One that a single process of several may meet, and has to tell by itself."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a clause naming the entries closest to `name`, or the first of them when none is close."""
    known = sorted(known)
    # Comparing takes time that grows with the product of the lengths.
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) if len(name) <= LONGEST else []
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    more = f", ... ({len(known)} in all)" if len(known) > LISTED else ""
    return f"known: {', '.join(known[:LISTED])}{more}."
