"""Resolves what a run's config names, and reads the settings that it changes, before any image is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any, TypeVar

from nfft.config import registry
from nfft.config.fields import Expected, check_type, expectations, shown
from nfft.config.method import Method
from nfft.config.recipe import Facts, Recipe, check_settings
from nfft.config.run_config import RunConfig
from nfft.config.task import Task
from nfft.errors import UserError, nearest
from nfft.text import shorten


def read_changes(kind: type, changes: Mapping[str, Any], *, whose: str) -> dict[str, Any]:
    """`changes` with texts read as the types of their fields.

    Args:
        kind: a dataclass, such as Recipe or Task.
        changes: field name to value; values that are not text are taken as they are, if they are of the field's type.
        whose: what the fields belong to, for the error ("recipe", "task").

    Raises:
        UserError: for an unknown field (with the nearest name) or a value of another type.
    """
    expected = expectations(kind)
    for name in changes:
        if name not in expected:
            raise UserError(f"the {whose} has no setting {shown(name)}; {nearest(name, expected)}")
    return {name: _read_value(name, value, expected[name]) for name, value in changes.items()}


def _read_value(name: str, value: Any, expected: Expected) -> Any:
    """`value` as one of the types that are expected."""
    if not isinstance(value, str):
        # Numbers of NumPy and torch become Python's, which JSON can write.
        value = value.item() if hasattr(value, "item") else value
        check_type(name, value, expected)
        return value
    text = value.strip()
    if text.lower() in expected.words:
        return text.lower()
    if NoneType in expected.types and text.lower() in ("none", "null"):
        return None
    words = {"true": True, "false": False}
    if bool in expected.types and text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        if kind in expected.types:
            try:
                return kind(text)
            except ValueError:
                continue
    if str in expected.types:
        return text
    if not expected.types_in_words:
        raise UserError(f"{name} can be set only in a file.")
    raise UserError(f"{name} must be {expected.types_in_words}; got {shown(value)}.")


T = TypeVar("T", Method, Task)


@dataclass(frozen=True)
class ResolvedConfig:
    """A run's recipe, method and task.

    Attributes:
        recipe: makes the recipe from the facts of the run.
        changes: settings of the recipe that are taken over its own.
    """

    recipe: Callable[[Facts], Recipe]
    changes: dict[str, Any]
    method: Method
    task: Task


def read_config(config: RunConfig) -> ResolvedConfig:
    """Look up what `config` names, and read the settings that it changes.

    Raises:
        UserError: for a name that nothing has, or a value that does not fit.
    """
    settings = by_owner(config.settings, ["task", "method"])
    recipe = registry.recipe(config.recipe)
    changes = read_changes(Recipe, settings[""], whose="recipe")
    # A recipe is made for the batch size, and computes with it.
    check_settings(changes)
    method = with_settings(registry.method(config.method), settings["method"], "method")
    task = registry.task(config.task) if isinstance(config.task, str) else config.task
    task = with_settings(task, settings["task"], "task")
    _check_teacher(config, task, method)
    if unheeded := [name for name in changes if not method.heeds(name)]:
        raise UserError(
            f"{unheeded[0]} has no part in --method {config.method}. Leave it out, or use another --method."
        )
    return ResolvedConfig(recipe, changes, method, task)


def _check_teacher(config: RunConfig, task: Task, method: Method) -> None:
    """See that there is a teacher where one is needed, and a method that learns from it."""
    if config.teacher is not None and not method.heeds("distill_weight"):
        raise UserError(
            f"--method {config.method} learns from labels alone: --teacher has no part in it. Leave it out, or use "
            "another --method."
        )
    if task.unlabelled is not None and config.teacher is None:
        raise UserError(
            f"task.unlabelled={shorten(task.unlabelled, 200)}: images without labels need a teacher that says what "
            "they may show. Train one on those with labels (nfft finetune without task.unlabelled), then name its "
            "folder with --teacher."
        )


def read_task(name: str, changes: Mapping[str, Any]) -> Task:
    """The task called `name`, where no settings but its own can be changed.

    Raises:
        UserError: for a name that nothing has, or a value that does not fit.
    """
    settings = by_owner(changes, ["task"])
    if others := [*settings[""]]:
        raise UserError(f"--set {shorten(others[0], 80)}: expected a setting of the task, such as task.label=species.")
    return with_settings(registry.task(name), settings["task"], "task")


def by_owner(changes: Mapping[str, Any], owners: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings by owner: "task.label" as "label" under "task"; under "" those that none of `owners` has."""
    owned: dict[str, dict[str, Any]] = {"": {}, **{owner: {} for owner in owners}}
    for name, value in changes.items():
        owner, dot, setting = name.partition(".")
        if dot and owner in owners:
            owned[owner][setting] = value
        else:
            owned[""][name] = value
    return owned


def with_settings(thing: T, changes: Mapping[str, Any], whose: str) -> T:
    """A method or task with other settings, which are text where they have yet to be read."""
    return replace(thing, **read_changes(type(thing), changes, whose=whose))
