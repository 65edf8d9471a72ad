"""Images and labels that are in memory already."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from nfft.config.task import Task
from nfft.data.decode import Raw
from nfft.data.sources.table import images_fingerprint
from nfft.errors import UserError


def arrays_of(task: Task) -> "Arrays":
    assert callable(task.source)
    try:
        columns = dict(task.source())
    except Exception as error:
        raise UserError(
            f"task {task.name}: its function {task.source.__name__} fails: {type(error).__name__}: {error}. "
            "NFFT_DEBUG=1 shows where."
        ) from error
    if missing := {"image", "label", "names"} - columns.keys():
        raise UserError(
            f"task {task.name}: its function {task.source.__name__} must return image, label and names; it lacks "
            f"{', '.join(sorted(missing))}. See tasks/digits.py."
        )
    labels, images, names = np.asarray(columns["label"]), len(columns["image"]), len(columns["names"])
    if labels.shape != (images,):
        raise UserError(
            f"task {task.name}: expected one label an image, {images} in all; got labels of shape {labels.shape}."
        )
    if odd := sorted(set(labels.tolist()) - set(range(names))):
        raise UserError(
            f"task {task.name}: expected labels from 0 to {names - 1}, places in its list of names; got {odd[0]!r}."
        )
    for row, image in enumerate(columns["image"]):
        if not (isinstance(image, bytes | str | Image.Image) or getattr(image, "dtype", None) == np.uint8):
            kind = getattr(image, "dtype", type(image).__name__)
            raise UserError(f"task {task.name}: expected images as uint8 arrays, bytes or paths; row {row} is {kind}.")
    return Arrays(columns)


class Arrays:
    """Columns that a task's own function returned."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["label"])

    def class_names(self) -> list[str]:
        return [str(name) for name in self.columns["names"]]

    def labels(self, classes: list[str]) -> np.ndarray:
        return np.asarray(self.columns["label"], np.int64)

    def images(self) -> Sequence[Raw]:
        return self.columns["image"]

    def fingerprint(self) -> str | None:
        """Of bytes and files; None for arrays, in which nothing can be broken."""
        encoded = [image for image in self.images() if isinstance(image, bytes | str)]
        return images_fingerprint(encoded, hashlib.sha256()) if encoded else None
