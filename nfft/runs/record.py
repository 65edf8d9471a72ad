"""What every record of a run is: a dataclass that goes to JSON and comes back checked; and how its file is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import msgspec
from packaging.version import Version

from nfft import __version__
from nfft.errors import UserError
from nfft.files import read_json, read_lines
from nfft.text import is_deep, shorten

R = TypeVar("R", bound="Record")
T = TypeVar("T")
# A number of things, no larger than a float can count.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
SCALARS = frozenset({str, int, float, bool, type(None)})
# Of a field that JSON leaves out where it is None: it is not for every method.
OMITTED = {"omitted": True}


@dataclass(frozen=True, kw_only=True)
class Record:
    """To JSON and from it; what is read is checked once, here."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `json.dumps` takes them; what is absent is null."""
        return _plain(self)

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """The record that `to_json` made, of this release or an earlier one.

        Raises:
            ValueError: naming the first entry that is missing or of another type, and where it is.
        """
        try:
            return msgspec.convert(cls.modernized(content), cls, strict=True)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ValueError(str(error)) from error

    @classmethod
    def modernized(cls, content: Any) -> Any:
        """What an earlier release wrote, in today's words."""
        return content


def _plain(value: Any) -> Any:
    kind: type = type(value)
    if kind in SCALARS:  # most of what there is, with 100,000 classes
        return value
    if (entries := _entries(kind)) is not None:
        return {
            name: _plain(entry)
            for name, is_omitted in entries
            if not ((entry := getattr(value, name)) is None and is_omitted)
        }
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


@cache
def _entries(kind: type) -> tuple[tuple[str, bool], ...] | None:
    """Names of a record's fields, and whether each is left out where it is None; None for what is no record."""
    if not is_dataclass(kind):
        return None
    return tuple((field.name, bool(field.metadata.get("omitted"))) for field in fields(kind))


def read_record(kind: type[R], path: Path) -> R:
    """The record in a file of a run folder.

    Raises:
        UserError: when there is no such file, it is damaged, or a newer nfft has written it.
    """
    content = _read(path, read_json)
    check_version(content, path.parent)
    return _checked(kind.from_json, content, path)


def read_records(from_json: Callable[[Any], T], path: Path) -> list[T]:
    """The records in a file that is a list, or that has one a line (.jsonl).

    Raises:
        UserError: when there is no such file, or it is damaged.
    """
    content = _read(path, read_lines if path.suffix == ".jsonl" else read_json)
    if not isinstance(content, list):
        raise UserError(f"{path} is damaged, or not a run's: Expected `array`, got `{type(content).__name__}`.")
    return [_checked(from_json, entry, path) for entry in content]


def _read(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        content = reader(path)
        if is_deep(content):
            raise ValueError("its lists lie too deep in each other")
        return content
    except FileNotFoundError as error:
        raise UserError(
            f"{path.parent} has no {path.name}: expected the folder of a run, as `nfft finetune` leaves it."
        ) from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


def _checked(from_json: Callable[[Any], T], content: Any, path: Path) -> T:
    try:
        return from_json(content)
    except ValueError as error:
        raise UserError(f"{path} is damaged, or not a run's: {shorten(str(error), 200)}.") from error


def check_version(content: Any, folder: Path) -> None:
    """See that what a run wrote is not of a newer nfft than this one, whose words are unknown here.

    Raises:
        UserError: naming both versions.
    """
    versions = content.get("versions") if isinstance(content, dict) else None
    written = versions.get("nfft") if isinstance(versions, dict) else None
    try:
        is_newer = written is not None and Version(written) > Version(__version__)
    except (ValueError, TypeError):
        return
    if is_newer:
        raise UserError(
            f"the run in {folder} was written by nfft {written}, and this is nfft {__version__}. "
            "Upgrade with pip install -U nfnet-finetune, or use another folder."
        )
