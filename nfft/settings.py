"""What a request names, found and read before any image is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from nfft import catalog
from nfft.errors import UserError
from nfft.method import Method
from nfft.recipe import Facts, Recipe, read_changes
from nfft.request import Request
from nfft.task import Task

T = TypeVar("T", Method, Task)


@dataclass(frozen=True)
class Asked:
    """A request's recipe, method and task.

    Attributes:
        recipe: makes the recipe from the facts of the run.
        changes: the recipe's settings that were asked for, read.
    """

    recipe: Callable[[Facts], Recipe]
    changes: dict[str, Any]
    method: Method
    task: Task


def read(request: Request) -> Asked:
    """Find what `request` names, and read the settings that it changes.

    Raises:
        UserError: for a name that nothing has, or a value that does not fit.
    """
    of = by_owner(request.changes, ["task", "method"])
    recipe = catalog.recipe(request.recipe)
    changes = read_changes(Recipe, of[""], whose="recipe")
    method = with_settings(catalog.method(request.method), of["method"], "method")
    if unheeded := [name for name in changes if not method.heeds(name)]:
        raise UserError(
            f"{unheeded[0]} has no part in --method {request.method}. Leave it out, or use another --method."
        )
    return Asked(recipe, changes, method, with_settings(catalog.task(request.task), of["task"], "task"))


def read_task(name: str, changes: Mapping[str, str]) -> Task:
    """The task called `name`, where no settings but its own can be changed.

    Raises:
        UserError: for a name that nothing has, or a value that does not fit.
    """
    of = by_owner(changes, ["task"])
    if of[""]:
        raise UserError(f"--set {next(iter(of['']))}: expected a setting of the task, such as task.label=species.")
    return with_settings(catalog.task(name), of["task"], "task")


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
