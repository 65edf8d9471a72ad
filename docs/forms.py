"""Docstrings, types and rows as Markdown."""

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import Any


def prose(thing: Any) -> str:
    """A docstring as Markdown, without its sections of arguments and attributes."""
    text = inspect.getdoc(thing) or ""
    text = re.split(r"^(?:Args|Attributes|Returns|Raises):$", text, flags=re.MULTILINE)[0].strip()
    return re.sub(r"\n+(?=(?:Source|Differs|Reaches|Costs)\b)", "\n\n", text)


def attributes(kind: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each of its fields; one entry may be of several."""
    return {name: text for base in reversed(kind.__mro__) for name, text in _own_attributes(base).items()}


def _own_attributes(kind: type) -> dict[str, str]:
    _, _, text = inspect.cleandoc(vars(kind).get("__doc__") or "").partition("Attributes:\n")
    depth = len(text) - len(text.lstrip())
    said: dict[str, str] = {}
    names: list[str] = []
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        entry = re.match(r"\s*([a-z]\w*(?:, \w+)*): (.*)", line)
        if not line.strip() or indent < depth:
            break
        if indent == depth and entry:
            names = entry[1].split(", ")
            said |= dict.fromkeys(names, entry[2])
        else:
            said |= {name: f"{said[name]} {line.strip()}" for name in names}
    return said


def escaped(text: str) -> str:
    """Plain text as Markdown, with nothing in it that Markdown or HTML would take for their own."""
    return re.sub(r"([*_[\]])", r"\\\1", text).replace("<", "&lt;")


def in_words(hint: Any) -> str:
    """A type as people call it: "text or null"."""
    words = {
        str: "text", int: "whole number", float: "number", bool: "true or false", types.NoneType: "null",
        Sized: "data in memory",
    }  # fmt: skip
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint in words:
        return words[hint]
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(in_words, parts))
    if origin is typing.Literal:
        return " or ".join(f"`{json.dumps(part)}`" for part in parts)
    if origin is tuple and parts[-1] is not ...:
        return f"[{', '.join(map(in_words, parts))}]"
    if origin in (tuple, list, Sequence):
        return f"list of {in_words(parts[0])}"
    if origin in (dict, Mapping):
        return "values by name" if parts[1] is Any else f"{in_words(parts[1])} by name"
    if origin is Callable:
        return "function"
    if dataclasses.is_dataclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return str(getattr(hint, "__name__", hint))


def default_of(field: dataclasses.Field) -> str:
    """The default of a field as `--set` takes it, in code; nothing where it has none."""
    return "" if field.default is dataclasses.MISSING else f"`{value_of(field.default)}`"


def value_of(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, without columns that are empty in every row."""
    rows = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    kept = [column for column in range(len(head)) if any(row[column] for row in rows)]
    lines = [[head[column] for column in kept], ["---"] * len(kept), *([row[c] for c in kept] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
