"""What a run's config names, found and read before any image is."""

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from nfft.config import registry
from nfft.config.method import Method
from nfft.config.recipe import Facts, Recipe
from nfft.config.run_config import RunConfig
from nfft.config.task import Task
from nfft.errors import UserError, nearest


def read_changes(kind: type, changes: Mapping[str, Any], *, whose: str) -> dict[str, Any]:
    """`changes` with each text read as the type of its field.

    Args:
        kind: a dataclass, such as Recipe or Task.
        changes: field name to value; values that are not text are taken as they are.
        whose: what the fields belong to, for the error ("recipe", "task").

    Raises:
        UserError: for an unknown field (with the nearest name) or a value of another type.
    """
    hints = typing.get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    for name in changes:
        if name not in known:
            raise UserError(f"the {whose} has no setting {name!r}; {nearest(name, known)}")
    return {name: _read_value(name, value, hints[name]) for name, value in changes.items()}


def _read_value(name: str, value: Any, hint: Any) -> Any:
    """`value` as one of the types that `hint` allows."""
    accepted = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if not isinstance(value, str):
        return value
    text = value.strip()
    if types.NoneType in accepted and text.lower() in ("none", "null"):
        return None
    words = {"true": True, "false": False}
    if bool in accepted and text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        if kind in accepted:
            try:
                return kind(text)
            except ValueError:
                continue
    if str in accepted:
        return text
    names = {int: "a whole number", float: "a number", bool: "true or false", types.NoneType: "none"}
    described = " or ".join(names[kind] for kind in accepted if kind in names)
    raise UserError(
        f"{name} must be {described}; got {value!r}." if described else f"{name} can be set only in a file."
    )


T = TypeVar("T", Method, Task)


@dataclass(frozen=True)
class Asked:
    """A run's recipe, method and task.

    Attributes:
        recipe: makes the recipe from the facts of the run.
        changes: the recipe's settings that were asked for, read.
    """

    recipe: Callable[[Facts], Recipe]
    changes: dict[str, Any]
    method: Method
    task: Task


def read_config(config: RunConfig) -> Asked:
    """Find what `config` names, and read the settings that it changes.

    Raises:
        UserError: for a name that nothing has, or a value that does not fit.
    """
    of = by_owner(config.settings, ["task", "method"])
    recipe = registry.recipe(config.recipe)
    changes = read_changes(Recipe, of[""], whose="recipe")
    method = with_settings(registry.method(config.method), of["method"], "method")
    if unheeded := [name for name in changes if not method.heeds(name)]:
        raise UserError(
            f"{unheeded[0]} has no part in --method {config.method}. Leave it out, or use another --method."
        )
    return Asked(
        recipe,
        changes,
        method,
        with_settings(registry.task(config.task) if isinstance(config.task, str) else config.task, of["task"], "task"),
    )


def read_task(name: str, changes: Mapping[str, str]) -> Task:
    """The task called `name`, where no settings but its own can be changed.

    Raises:
        UserError: for a name that nothing has, or a value that does not fit.
    """
    of = by_owner(changes, ["task"])
    if of[""]:
        raise UserError(f"--set {next(iter(of['']))}: expected a setting of the task, such as task.label=species.")
    return with_settings(registry.task(name), of["task"], "task")


def by_owner(changes: Mapping[str, str], owners: Sequence[str]) -> dict[str, dict[str, str]]:
    """Settings by what they are of: "task.label" as "label" under "task"; under "" those of none of `owners`."""
    found: dict[str, dict[str, str]] = {"": {}, **{owner: {} for owner in owners}}
    for name, text in changes.items():
        owner, dot, setting = name.partition(".")
        if dot and owner in owners:
            found[owner][setting] = text
        else:
            found[""][name] = text
    return found


def with_settings(thing: T, changes: Mapping[str, str], whose: str) -> T:
    """A method or task with settings that are given as text."""
    return replace(thing, **read_changes(type(thing), changes, whose=whose))
