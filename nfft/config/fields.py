"""What a field of a dataclass says of itself beside its type: its bounds, and whether it decides what a run makes."""

from dataclasses import field
from typing import Any


def incidental(**options: Any) -> Any:
    """A field that may differ between a run and its resumption: it changes how the run goes, not what comes out."""
    return field(metadata={"incidental": True}, **options)


def labeled(label: str, **options: Any) -> Any:
    """A field that decides what comes out, called `label` where a resumption finds it changed."""
    return field(metadata={"label": label}, **options)


def listed(prefix: str, **options: Any) -> Any:
    """A mapping each of whose entries decides what comes out, called `prefix` and its name."""
    return field(metadata={"prefix": prefix}, **options)
