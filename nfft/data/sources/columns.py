"""Which columns of a data set hold the images and the labels: by what the task says, their types, or usual names."""

import re
from collections.abc import Iterable
from typing import Any

from datasets import ClassLabel, Image, Value

from nfft.config.task import Task
from nfft.data.sources.column_names import (
    BYTES_NAMES,
    IMAGE_NAMES,
    LABEL_NAMES,
    MORE_IMAGE_NAMES,
    MORE_LABEL_NAMES,
    PATH_NAMES,
)
from nfft.data.sources.split_column import is_split_name
from nfft.errors import LISTED, UserError, nearest
from nfft.text import shorten


def image_column(task: Task, features: Any) -> str:
    """The column of images: as the task names it, else by type, else by name.

    Raises:
        UserError: when there is none, or the one that the task names holds something else.
    """
    if task.image is not None:
        if task.image not in features:
            raise UserError(f"task {task.name}: no column {task.image!r}; {nearest(task.image, features)}")
        feature = features[task.image]
        if not _may_hold_images(feature):
            raise UserError(
                f"task {task.name}: column {task.image!r} holds {_kind(feature)}, not images or their paths. "
                "Name another with --set task.image=..."
            )
        return task.image
    typed = [name for name, feature in features.items() if isinstance(feature, Image)]
    named = [name for name in usual(IMAGE_NAMES, MORE_IMAGE_NAMES, features) if _may_hold_images(features[name])]
    candidates = typed or named
    if not candidates:
        if any(name.lower().endswith((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".webp")) for name in features):
            raise UserError(
                f"task {task.name}: its first line holds {shown(features)}, which look like a row. Put the names of "
                "the columns above it, such as file_name,label."
            )
        raise UserError(
            f"task {task.name}: no images found; expected one folder of them a class, or a table with a column of "
            f"images. Its columns are {shown(features)}: name it with --set task.image=..."
        )
    return candidates[0]


def label_column(task: Task, features: Any) -> tuple[str, Any]:
    """The column of labels, with its feature: as the task names it, else by type and name.

    Raises:
        UserError: when there is none, or it does not hold one class an image.
    """
    column = task.label
    if column is None:
        typed = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
        # A column of splits may be one of classes by its type.
        typed = [name for name in typed if not is_split_name(name)] or typed
        named = usual(LABEL_NAMES, MORE_LABEL_NAMES, features)
        if typed and all(map(is_split_name, typed)) and named:
            typed = []
        candidates = ([name for name in named if name in typed] or typed or named)[:1]
        if not candidates:
            raise UserError(
                f"task {task.name}: no label column found among {shown(features)}. "
                "A folder of images needs one folder a class, two at least; else name it with --set task.label=..."
            )
        column = candidates[0]
    if column not in features:
        raise UserError(f"task {task.name}: no column {column!r}; {nearest(column, features)}")
    feature = features[column]
    if not isinstance(feature, ClassLabel | Value):
        raise UserError(f"task {task.name}: column {column!r} holds {_kind(feature)}, not one class an image.")
    return column, feature


def check_labels(task: Task, column: str, texts: set[str]) -> None:
    """See that what a label column holds is not something that was measured.

    Raises:
        UserError: when all are numbers, and some are not whole.
    """
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        return
    if not all(number.is_integer() for number in numbers) or any("." in text for text in texts):
        raise UserError(
            f"task {task.name}: the labels in column {column!r} are floating-point numbers; classes are whole "
            "numbers or text. Convert the column, or name another with --set task.label=..."
        )


def usual(names: Iterable[str], more: Iterable[str], features: Iterable[str]) -> list[str]:
    """The columns that bear one of these names: as it is written, then in another spelling ("File Name"), then more."""
    spelled = {_spelled(feature): feature for feature in reversed(list(features))}
    exact = [name for name in names if name in features]
    return list(dict.fromkeys([*exact, *(spelled[name] for name in (*names, *more) if name in spelled)]))


def shown(columns: Iterable[str]) -> str:
    """Names of columns for people, not all where there are many."""
    names = [shorten(name, 60) for name in columns]
    return ", ".join(names[:LISTED]) + (f", ... ({len(names)} in all)" if len(names) > LISTED else "")


def _spelled(name: str) -> str:
    """A name in small letters, words apart by one underscore."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\W_]+", "_", apart.lower())


def field_of(feature: Any, names: Iterable[str], dtype: str) -> str | None:
    """The field of a column of several that holds such values: by its name, else the only one."""
    if not isinstance(feature, dict):
        return None
    fitting = [
        name
        for name, field in feature.items()
        if isinstance(field, Value) and field.dtype.removeprefix("large_") == dtype
    ]
    return next((name for name in names if name in fitting), fitting[0] if len(fitting) == 1 else None)


def _may_hold_images(feature: Any) -> bool:
    """Images, or their bytes or paths."""
    if isinstance(feature, dict):
        fields = field_of(feature, BYTES_NAMES, "binary"), field_of(feature, PATH_NAMES, "string")
        return any(field is not None for field in fields)
    encoded = isinstance(feature, Value) and feature.dtype.removeprefix("large_") in ("string", "binary")
    return encoded or isinstance(feature, Image)


def _kind(feature: Any) -> str:
    return shorten(str(getattr(feature, "dtype", type(feature).__name__)), 100)
