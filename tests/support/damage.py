"""JSON documents with one entry that is wrong."""

import copy
import math
from collections.abc import Iterator
from typing import Any

GONE = object()
WRONG = (GONE, None, True, -1, 10**400, math.nan, "\ud800", [], {"a": [1]})


def damaged(content: Any) -> Iterator[Any]:
    """The document with each entry in turn left out or of several wrong kinds; of a list, its first and last entry."""
    for path in _places(content):
        for wrong in WRONG:
            yield _spoiled(content, path, wrong)


def _places(content: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    yield path
    if isinstance(content, dict):
        for name, entry in content.items():
            yield from _places(entry, *path, name)
    elif isinstance(content, list):
        for number in sorted({0, len(content) - 1}) if content else []:
            yield from _places(content[number], *path, number)


def _spoiled(content: Any, path: tuple[str | int, ...], wrong: Any) -> Any:
    if not path:
        return None if wrong is GONE else wrong
    content = copy.deepcopy(content)
    place = content
    for name in path[:-1]:
        place = place[name]
    if wrong is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = wrong
    return content
