"""What a request names, found and read before any image is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nfft import catalog
from nfft.errors import UserError
from nfft.method import Method
from nfft.options import Request
from nfft.recipe import Facts, Recipe, read_changes
from nfft.task import Task


@dataclass(frozen=True)
class Settings:
    """A request's recipe, method and task.

    Attributes:
        recipe: makes the recipe from the facts of the run.
        changes: the recipe's settings that were asked for, read.
    """

    recipe: Callable[[Facts], Recipe]
    changes: dict[str, Any]
    method: Method
    task: Task


def read(request: Request) -> Settings:
    """Find what `request` names, and read the settings that it changes.

    Raises:
        UserError: for a name that nothing has, or a value that does not fit.
    """
    recipe = catalog.recipe(request.recipe)
    changes = read_changes(Recipe, _part(request, ""), whose="recipe")
    method = catalog.method(request.method)
    method = replace(method, **read_changes(type(method), _part(request, "method."), whose="method"))
    if unheeded := [name for name in changes if not method.heeds(name)]:
        raise UserError(
            f"{unheeded[0]} has no part in --method {request.method}. Leave it out, or use another --method."
        )
    task = catalog.task(request.task)
    task = replace(task, **read_changes(Task, _part(request, "task."), whose="task"))
    return Settings(recipe, changes, method, task)


def _part(request: Request, prefix: str) -> dict[str, str]:
    """The changes whose names begin with `prefix`, without it; for none, those of no other part."""
    prefixes = ("task.", "method.")
    if not prefix:
        return {name: text for name, text in request.changes.items() if not name.startswith(prefixes)}
    return {name.removeprefix(prefix): text for name, text in request.changes.items() if name.startswith(prefix)}
