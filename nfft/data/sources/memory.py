"""Makes a task of data that a program has in memory: a data set of `datasets`, or images with their labels."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nfft.config.task import Task
from nfft.data.decode import RawImage, UnreadableImage, decode
from nfft.data.sources.arrays import Arrays, check_lengths
from nfft.data.sources.base import in_order, is_dataset
from nfft.errors import UserError

IMAGES = "uint8 arrays (height, width, 3) or (height, width), images of Pillow, or paths or bytes of files"


def task_of(data: Any, name: str = "data") -> Task:
    """A task of data in memory.

    Args:
        data: a `datasets.Dataset` or `DatasetDict`, or a pair (images, labels). Images are a uint8 array (n, height,
            width, 3) or (n, height, width), or a sequence of arrays, of images of Pillow, or of paths or bytes of
            files; labels are whole numbers or texts, (n,). Classes are in the order of the numbers, or of the alphabet.
        name: of the task.

    Raises:
        UserError: when it is neither, or images and labels do not belong together.
    """
    if is_dataset(data):
        return Task(name=name, source=data)
    if isinstance(data, tuple | list) and len(data) == 2:
        images = _images(name, data[0])
        names, places = _classes(name, len(images), data[1])
        return Task(name=name, source=Arrays(images, places, names))
    raise UserError(
        f"task {name}: expected a datasets.Dataset, a DatasetDict, or a pair (images, labels); "
        f"got {type(data).__name__}."
    )


def is_in_memory(task: Task) -> bool:
    """Whether the task's data were handed over by a program."""
    return isinstance(task.source, Arrays) or is_dataset(task.source)


def content_hash(task: Task) -> str:
    """What tells a task's data in memory from others."""
    if isinstance(task.source, Arrays):
        return task.source.content_hash()
    assert is_dataset(task.source)
    splits: Any = task.source if isinstance(task.source, dict) else {"": task.source}
    prints = "\n".join(f"{name} {split._fingerprint}" for name, split in splits.items())
    return hashlib.sha256(prints.encode()).hexdigest()


def _images(name: str, images: Any) -> Sequence[RawImage]:
    if isinstance(images, np.ndarray) and images.ndim > 1:
        if len(images):
            _check_pixels(name, "its images are", images[0])
        return images  # type: ignore[return-value]
    if isinstance(images, str | bytes) or not hasattr(images, "__len__"):
        raise UserError(f"task {name}: expected a sequence of images; got {type(images).__name__}.")
    return [_image(name, row, image) for row, image in enumerate(images)]


def _image(name: str, row: int, image: Any) -> RawImage:
    """An image that every process can read, again and again: those of Pillow may hold open files."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        return str(Path(image).expanduser())
    if isinstance(image, Image.Image):
        try:
            return np.asarray(decode(image))
        except UnreadableImage as error:
            raise UserError(f"task {name}: image {row} cannot be read: {error}.") from error
    _check_pixels(name, f"image {row} is", image)
    return image


def _check_pixels(name: str, which: str, image: Any) -> None:
    if not isinstance(image, np.ndarray):
        raise UserError(f"task {name}: expected images as {IMAGES}; {which} {type(image).__name__}.")
    if image.dtype != np.uint8 or not (image.ndim == 2 or image.shape[2:] == (3,)) or not image.size:
        raise UserError(f"task {name}: expected images as {IMAGES}; {which} {image.dtype} of shape {image.shape}.")


def _classes(name: str, images: int, labels: Any) -> tuple[list[str], np.ndarray]:
    """Names of the classes, and the place of each label among them."""
    try:
        values = np.asarray(labels)
    except ValueError as error:
        raise UserError(f"task {name}: expected one label an image; got lists of several lengths.") from error
    check_lengths(name, images, values)
    if not images:
        raise UserError(f"task {name}: there are no images.")
    texts = values.tolist()
    if values.dtype.kind not in "iuU" and not all(isinstance(text, str) for text in texts):
        raise UserError(
            f"task {name}: expected labels that are whole numbers or text; got {values.dtype}, such as {texts[0]!r}."
        )
    classes = in_order({str(text) for text in texts})
    places = {text: place for place, text in enumerate(classes)}
    return classes, np.array([places[str(text)] for text in texts])
