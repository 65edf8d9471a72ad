"""Images and labels that are in memory already."""

import hashlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from nfft.config.task import Task
from nfft.data.decode import RawImage
from nfft.data.sources.base import images_fingerprint
from nfft.errors import UserError


class Arrays:
    """A table of images, of their labels as places in a list of names, and of these.

    Args:
        images: arrays, bytes of files, or their paths.
        labels: whole numbers, (n,).
        names: of the classes.
    """

    def __init__(self, images: Sequence[RawImage], labels: np.ndarray, names: Sequence[str]) -> None:
        self._images, self._labels, self.names = images, labels.astype(np.int64), list(names)

    def __len__(self) -> int:
        return len(self._labels)

    def class_names(self) -> list[str]:
        return self.names

    def labels(self, classes: list[str]) -> np.ndarray:
        return self._labels

    def images(self) -> Sequence[RawImage]:
        return self._images

    def fingerprint(self) -> str | None:
        """Of bytes and files; None for arrays, in which nothing can be broken."""
        is_encoded = any(isinstance(image, bytes | str) for image in self._images)
        return images_fingerprint(self._images, hashlib.sha256()) if is_encoded else None

    def content_hash(self) -> str:
        """SHA-256 of class names, labels and images."""
        digest = hashlib.sha256("\n".join(self.names).encode() + self._labels.tobytes())
        return images_fingerprint(self._images, digest)


def arrays_of(task: Task) -> Arrays:
    """What the function that a task has as its source returns.

    Raises:
        UserError: when it fails, or returns anything but images, a label for each, and names for these.
    """
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
    images, labels, names = columns["image"], np.asarray(columns["label"]), columns["names"]
    check_lengths(task.name, len(images), labels)
    if odd := sorted(set(labels.tolist()) - set(range(len(names)))):
        raise UserError(
            f"task {task.name}: expected labels from 0 to {len(names) - 1}, places in its list of names; "
            f"got {odd[0]!r}."
        )
    for row, image in enumerate(images):
        if not (isinstance(image, bytes | str | Image.Image) or getattr(image, "dtype", None) == np.uint8):
            kind = getattr(image, "dtype", type(image).__name__)
            raise UserError(f"task {task.name}: expected images as uint8 arrays, bytes or paths; row {row} is {kind}.")
    return Arrays(images, labels, [str(name) for name in names])


def check_lengths(task: str, images: int, labels: np.ndarray) -> None:
    """See that there is one label an image.

    Raises:
        UserError: with the shape of the labels.
    """
    if labels.shape != (images,):
        raise UserError(
            f"task {task}: expected one label an image, {images} in all; got labels of shape {labels.shape}."
        )
