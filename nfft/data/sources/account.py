"""What of a source is not used, and why; and what was taken for granted about the rest."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nfft.text import shorten

# Of things with names, so many are named.
MOST_NAMES = 3


@dataclass(frozen=True)
class Unused:
    """Things of one kind that are left out for one reason.

    Attributes:
        what: "file", "folder", "row", "split" or "column"; one of them, in the singular.
        reason: why, in a few words.
        count: how many.
    """

    what: str
    reason: str
    count: int

    def __str__(self) -> str:
        return f"{self.count:,} {self.what}{'' if self.count == 1 else 's'} ({self.reason})"


@dataclass(frozen=True)
class Account:
    """What there is to say of how a source was read.

    Attributes:
        unused: what of it is not used.
        notes: lines about what was taken for granted, such as which column says the split.
        details: lines that name files: they are for who runs it, and no part of a record or card.
    """

    unused: tuple[Unused, ...] = ()
    notes: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    def __add__(self, other: "Account") -> "Account":
        return Account((*self.unused, *other.unused), (*self.notes, *other.notes), (*self.details, *other.details))

    @property
    def lines(self) -> list[str]:
        """For people, before anything is done with the data."""
        left_out = [f"not used: {', '.join(map(str, self.unused))}"] if self.unused else []
        return [*self.notes, *self.details, *left_out]


NOTHING_UNUSED = Account()


def counted(what: str, reasons: Iterable[str]) -> tuple[Unused, ...]:
    """Things of one kind, one reason each, by their reason: the most frequent first."""
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(Unused(what, reason, count) for reason, count in ordered)


def named(what: str, reason: str, names: Sequence[str]) -> Unused:
    """Things of one kind that are left out for one reason, and the names of a few of them."""
    return Unused(what, f"{reason}: {few_of(names)}", len(names))


def few_of(names: Sequence[str]) -> str:
    """The first names of many, for a line."""
    listed = [shorten(name, 120) for name in names[:MOST_NAMES]]
    return ", ".join([*listed, "…"] if len(names) > MOST_NAMES else listed)
