"""Tables and lists of the documentation that follow from the code, so that they cannot get stale.

A page has a line such as `{{ record RunRecord }}`: a function of `MAKERS`, its arguments, and in its place, once the
site is built, the Markdown that it returns.
"""

import argparse
import ast
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from forms import as_table, attributes, default_of, escaped, in_words, prose, value_of
from from_source import errors, layers, rooms

import nfft
from nfft.cli import COMMANDS
from nfft.config import registry
from nfft.config.fields import Expected, expectations
from nfft.config.recipe import Facts, Recipe
from nfft.runs import records
from nfft.runs.record import OMITTED

PLACE = re.compile(r"^\{\{ (\w+)((?: \S+)*) \}\}$", re.MULTILINE)
# What tables of recipes are made for: the paper's data, and data of one's own.
IMAGENET, OWN = 1_281_167, 2_640


def filled(markdown: str) -> str:
    """A page with what follows from the code in its places.

    Raises:
        KeyError: for a place that nothing here fills.
    """
    return PLACE.sub(lambda place: MAKERS[place[1]](*place[2].split()), markdown)


# The run folder


def record(name: str) -> str:
    """A record of the run folder: its fields, their types, and which of them decide what comes out."""
    kind = getattr(records, name)
    hints, said, fields = typing.get_type_hints(kind), attributes(kind), dataclasses.fields(kind)
    # Records of run.json say of each field whether it decides; others say nothing.
    is_of_run = any(field.metadata.keys() - OMITTED for field in fields)
    rows = [
        [
            f"`{field.name}`",
            in_words(hints[field.name]),
            _mark(field, hints[field.name]) if is_of_run else "",
            said.get(field.name, ""),
        ]
        for field in fields
    ]
    return f"#### {name}\n\n{prose(kind)}\n\n" + as_table(["key", "type", "fixed", "what it is"], rows)


def _mark(field: dataclasses.Field, hint: Any) -> str:
    """A mark at a field that has to be the same in a resumption; records within have marks of their own."""
    has_own = any(dataclasses.is_dataclass(kind) for kind in (hint, *typing.get_args(hint)))
    return "" if field.metadata.get("incidental") or has_own else "●"


# Settings


def settings() -> str:
    """Every field of a recipe, by the groups that its definition has them in."""
    return "\n\n".join(f"{escaped(comment)}\n\n{fields_of(Recipe, names)}" for comment, names in _groups(Recipe))


def task_fields() -> str:
    """Every field of a task."""
    return fields_of(nfft.Task, list(expectations(nfft.Task)))


def fields_of(kind: type, names: Sequence[str], prefix: str = "") -> str:
    """A table of what `--set` takes: of each field its type, its default, what is allowed and what it is."""
    hints, said, expected = typing.get_type_hints(kind), attributes(kind), expectations(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    rows = [
        [
            f"`{prefix}{name}`",
            in_words(hints[name]).replace("null", "none"),
            default_of(fields[name]),
            bounds_of(expected[name]),
            said.get(name, ""),
        ]
        for name in names
    ]
    return as_table(["field", "type", "default", "allowed", "what it is"], rows)


def bounds_of(expected: Expected) -> str:
    """The bounds of a field as its error has them: those that a value far off breaks."""
    return expected.bounds_broken_by(-(10**9)) or expected.bounds_broken_by(10**9) or ""


def _groups(kind: type) -> list[tuple[str, list[str]]]:
    """Names of the fields of a class under the comments that stand before them."""
    source = inspect.getsource(kind)
    lines = source.splitlines()
    (body,) = ast.parse(source).body
    groups: list[tuple[str, list[str]]] = []
    for node in body.body:
        if not isinstance(node, ast.AnnAssign):
            continue
        above = []
        for line in reversed(lines[: node.lineno - 1]):
            if not line.strip().startswith("#"):
                break
            above.insert(0, line.strip(" #"))
        if above or not groups:
            groups.append((" ".join(above), []))
        groups[-1][1].append(node.target.id)
    return groups


def _facts(images: int) -> Facts:
    sides = {"side": 400, "train_side": 192, "test_side": 256}
    return Facts(images=images, classes=1000, architecture="dm_nfnet_f0", pretrained=True, **sides)


def recipes() -> str:
    """What each recipe is for, as its file says."""
    return "\n\n".join(f"### {_dashed(name)}\n\n{_described('recipes', name)}" for name in registry.names("recipes"))


def recipe_values() -> str:
    """Each setting by each recipe, for ImageNet; and by `auto` for a few images as well."""
    names = [_dashed(name) for name in registry.names("recipes")]
    columns = {f"auto, {OWN:,} images": registry.recipe("auto")(_facts(OWN))}
    columns |= {name: registry.recipe(name)(_facts(IMAGENET)) for name in names}
    rows = [
        [f"`{field.name}`", *(value_of(getattr(recipe, field.name)) for recipe in columns.values())]
        for field in dataclasses.fields(Recipe)
    ]
    return as_table(["", *columns], rows)


# What is found by its file's name


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _described(kind: str, name: str) -> str:
    """The docstring of a file that is found by its name, without the name that it begins with."""
    text = prose(import_module(f"nfft.{kind}.{name}")).removeprefix(f"{_dashed(name)}: ")
    return text[0].upper() + text[1:]


def tasks() -> str:
    """The catalog."""
    rows = [
        [f"`{name}`", _described("tasks", name).split("\n\n")[0], _source(registry.task(name))]
        for name in registry.names("tasks")
    ]
    return as_table(["`--task`", "data", "from"], rows)


def _source(task: nfft.Task) -> str:
    return f"`{task.source}`" if isinstance(task.source, str) else "this machine"


def methods() -> str:
    """What each method trains, as its file says, with its settings."""
    parts = []
    for name in registry.names("methods"):
        kind = type(registry.method(_dashed(name)))
        names = list(expectations(kind))
        parts += [f"### {_dashed(name)}", _described("methods", name)]
        parts += [fields_of(kind, names, prefix="method.")] if names else []
    return "\n\n".join(parts)


def studies() -> str:
    """What each study asks, of what, and how long that takes."""
    known = [registry.study(_dashed(name)) for name in registry.names("studies")]
    rows = [
        [f"`{study.name}`", study.question, ", ".join(study.rows), ", ".join(study.columns), study.budget]
        for study in known
    ]
    return as_table(["study", "asks", "rows", "columns", "takes"], rows)


# The command line


def commands() -> str:
    """Every command with its arguments, from the parsers."""
    return "\n\n".join(_command(name, purpose) for name, purpose in COMMANDS.items())


def _command(name: str, purpose: str) -> str:
    parser: argparse.ArgumentParser = import_module(f"nfft.cli.{name}").parser()
    usage = re.sub(r"\s+", " ", parser.format_usage().removeprefix("usage: ")).strip()
    rows = []
    for group in parser._action_groups:
        rows += [_argument(action, parser) for action in group._group_actions if action.dest != "help"]
    parts = [
        f"## nfft {name}",
        purpose,
        f"```text\n{_folded(usage)}\n```",
        as_table(["argument", "what it is"], rows),
    ]
    if parser.epilog:
        parts.append(f"```text\n{parser.epilog.strip()}\n```")
    return "\n\n".join(parts)


def _argument(action: argparse.Action, parser: argparse.ArgumentParser) -> list[str]:
    formatter = parser._get_formatter()
    shown = formatter._format_action_invocation(action)
    help_text = escaped(formatter._expand_help(action)) if action.help else ""
    return [f"`{shown}`" + (" (required)" if action.required and action.option_strings else ""), help_text]


def _folded(usage: str, width: int = 100) -> str:
    """A usage line, broken between its arguments."""
    words = re.findall(r"\[[^\]]*\]|\S+", usage)
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"    {word}")
    return "\n".join(lines)


def api(*names: str) -> str:
    """The reference of public names, as mkdocstrings makes it; those that this version lacks are left out."""
    return "\n\n".join(f"::: nfft.{name}" for name in names if name in nfft.__all__)


MAKERS: Mapping[str, Callable[..., str]] = {
    "api": api,
    "commands": commands,
    "errors": errors,
    "layers": layers,
    "methods": methods,
    "recipe_values": recipe_values,
    "recipes": recipes,
    "record": record,
    "rooms": rooms,
    "settings": settings,
    "studies": studies,
    "task_fields": task_fields,
    "tasks": tasks,
}
