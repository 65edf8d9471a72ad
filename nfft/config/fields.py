"""What a field of a dataclass says of itself beside its type: its bounds, and whether it decides what a run makes."""

import math
import types
import typing
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Any, Literal

from annotated_types import Interval, Le

from nfft.errors import UserError
from nfft.text import shorten

# Types that `--set` can write, as people say them.
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "none"}


def incidental(**options: Any) -> Any:
    """A field that may differ between a run and its resumption: it changes how the run goes, not what comes out."""
    return field(metadata={"incidental": True}, **options)


def labeled(label: str, **options: Any) -> Any:
    """A field that decides what comes out, called `label` where a resumption finds it changed."""
    return field(metadata={"label": label}, **options)


def listed(prefix: str, **options: Any) -> Any:
    """A mapping each of whose entries decides what comes out, called `prefix` and its name."""
    return field(metadata={"prefix": prefix}, **options)


@dataclass(frozen=True)
class Expected:
    """What a field may hold, by its annotation, such as `Annotated[float, Interval(gt=0), Le(1000)] | None`.

    Attributes:
        types: of its values; of others than WORDS has, only a file can write one.
        bounds: of its numbers; none where it has no numbers, or any will do.
        words: that it takes as they are: all there are, or beside `types`.
        most: beyond any use, though it has a meaning: a slip, or a run that would never end.
    """

    types: tuple[Any, ...]
    bounds: Interval | None = None
    words: tuple[str, ...] = ()
    most: Le | None = None

    @property
    def types_in_words(self) -> str:
        """Such as "a number or none"."""
        return " or ".join([*self.words, *(WORDS[kind] for kind in self.types if kind in WORDS)])

    def has_type_of(self, value: Any) -> bool:
        """Whether `value` is of these types: a whole number is a number, too; true and false are none."""
        if isinstance(value, str) and value in self.words:
            return True
        if not all(kind in WORDS for kind in self.types):
            return True
        kinds = (*self.types, int) if float in self.types else self.types
        return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))

    def bounds_broken_by(self, value: Any) -> str | None:
        """The bounds in words, where `value` is out of them: "above 0 and at most 1", say; else None."""
        if value is None or isinstance(value, (bool, str)) or self.bounds is None:
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return "a finite number"
        if self.most is not None and value > self.most.le:
            return f"at most {self.most.le}"
        gt, ge, lt, le = self.bounds.gt, self.bounds.ge, self.bounds.lt, self.bounds.le
        is_above = (gt is None or value > gt) and (ge is None or value >= ge)
        is_below = (lt is None or value < lt) and (le is None or value <= le)
        if is_above and is_below:
            return None
        limits = {"above": gt, "at least": ge, "below": lt, "at most": le}
        return " and ".join(f"{relation} {limit:g}" for relation, limit in limits.items() if limit is not None)


@cache
def expectations(kind: type) -> dict[str, Expected]:
    """What each field of a dataclass may hold, by name."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {entry.name: _expected(hints[entry.name]) for entry in fields(kind)}


def _expected(hint: Any) -> Expected:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    kinds, limits = [], []
    words: list[str] = []
    for member in typing.get_args(hint) if is_union else (hint,):
        if typing.get_origin(member) is Literal:
            words += typing.get_args(member)
            continue
        if typing.get_origin(member) is Annotated:
            member, *limits = typing.get_args(member)
        kinds.append(member)
    bounds = next((limit for limit in limits if isinstance(limit, Interval)), None)
    most = next((limit for limit in limits if isinstance(limit, Le)), None)
    return Expected(tuple(kinds), bounds, tuple(words), most)


def check_type(name: str, value: Any, expected: Expected) -> None:
    """See that the field called `name` gets a value of its type.

    Raises:
        UserError: saying which types it takes.
    """
    if not expected.has_type_of(value):
        raise UserError(f"{name} must be {expected.types_in_words}; got {shown(value)}.")


def check_bounds(name: str, value: Any, expected: Expected, *, mend: str) -> None:
    """See that the field called `name` gets a number within its bounds.

    Args:
        mend: how it is changed, as a sentence; "" for nothing.

    Raises:
        UserError: naming the bounds.
    """
    if (bounds := expected.bounds_broken_by(value)) is not None:
        raise UserError(f"{name} must be {bounds}; got {shown(value)}. {mend}".rstrip())


def shown(value: Any) -> str:
    """A value as messages quote it, however long it is."""
    try:
        return shorten(repr(value), 80)
    except ValueError:  # Python writes no whole number of over 4,300 digits
        return "a number of thousands of digits"
