"""Which columns of a data set hold the images and the labels: by what the task says, their types, or usual names."""

from typing import Any

from datasets import ClassLabel, Image, Value

from nfft.config.task import Task
from nfft.errors import UserError, nearest

IMAGE_NAMES = (
    "image", "img", "pixel_values", "image_path", "file_path", "filepath", "path", "file_name", "filename", "file",
)  # fmt: skip
LABEL_NAMES = ("label", "labels", "class", "category", "target", "fine_label", "label_name", "class_name", "species")


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
    named = [name for name in IMAGE_NAMES if name in features and _may_hold_images(features[name])]
    candidates = typed or named
    if not candidates:
        raise UserError(
            f"task {task.name}: no images found; expected one folder of them a class, or a table with a column of "
            f"images. Its columns are {', '.join(features)}: name it with --set task.image=..."
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
        named = [name for name in LABEL_NAMES if name in features]
        candidates = ([name for name in named if name in typed] or typed or named)[:1]
        if not candidates:
            raise UserError(
                f"task {task.name}: no label column found among {', '.join(features)}. "
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


def _may_hold_images(feature: Any) -> bool:
    """Images, or their bytes or paths."""
    encoded = isinstance(feature, Value) and feature.dtype.removeprefix("large_") in ("string", "binary")
    return encoded or isinstance(feature, Image | dict)


def _kind(feature: Any) -> str:
    return getattr(feature, "dtype", type(feature).__name__)
