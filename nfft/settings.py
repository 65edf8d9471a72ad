"""What a request names, found and read before any image is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nfft import catalog
from nfft.errors import UserError
from nfft.method import Method
from nfft.options import Request
from nfft.recipe import Facts, Recipe, read_changes
from nfft.task import Task

# Of a request's changes, those that are not the recipe's bear one of these names.
PARTS = ("task", "method")


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
    recipe = catalog.recipe(request.recipe)
    changes = read_changes(Recipe, part(request.changes, "", PARTS), whose="recipe")
    method = catalog.method(request.method)
    method = replace(method, **read_changes(type(method), part(request.changes, "method", PARTS), whose="method"))
    if unheeded := [name for name in changes if not method.heeds(name)]:
        raise UserError(
            f"{unheeded[0]} has no part in --method {request.method}. Leave it out, or use another --method."
        )
    task = catalog.task(request.task)
    task = replace(task, **read_changes(Task, part(request.changes, "task", PARTS), whose="task"))
    return Asked(recipe, changes, method, task)


def part(changes: Mapping[str, str], name: str, parts: Sequence[str]) -> dict[str, str]:
    """The changes of the part `name`, as "task" of "task.label", without it; for "", those of none of `parts`."""
    if not name:
        return {each: text for each, text in changes.items() if not each.startswith(tuple(f"{one}." for one in parts))}
    return {each.removeprefix(f"{name}."): text for each, text in changes.items() if each.startswith(f"{name}.")}
