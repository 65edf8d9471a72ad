"""A task's images and labels, split by split."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from nfft.columns import check_labels, image_column, label_column
from nfft.errors import UserError
from nfft.preprocess import Raw
from nfft.source import load_dataset
from nfft.task import Task


class Table(Protocol):
    """One split: its class names, labels and images."""

    def __len__(self) -> int: ...

    def class_names(self) -> list[str]: ...

    def labels(self, classes: list[str]) -> np.ndarray | None:
        """Indices into `classes`, shape (n,), int64; None where the labels are hidden."""

    def images(self) -> Sequence[Raw]: ...

    def fingerprint(self) -> str | None:
        """Changes when the images do; None where nothing could be broken."""


def open_tables(task: Task) -> dict[str, Table]:
    """Every split of the task's source, by the source's own names.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
    if callable(task.source):
        return {"train": _arrays(task)}
    path = Path(task.source).expanduser()
    root = (path.resolve().parent if path.is_file() else path.resolve()) if path.exists() else None
    return {name: DatasetTable(task, split, root) for name, split in load_dataset(task, task.source).items()}


def _arrays(task: Task) -> "Arrays":
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


class DatasetTable:
    """One split of a data set that `datasets` read, with its image and label columns found.

    Args:
        root: what paths of images are relative to; None for a data set of the Hub.
    """

    def __init__(self, task: Task, dataset: Any, root: Path | None) -> None:
        import datasets

        self.task, self.root = task, root
        self.image = image_column(task, dataset.features)
        if isinstance(dataset.features[self.image], datasets.Image):
            dataset = dataset.cast_column(self.image, datasets.Image(decode=False))
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def images(self) -> Sequence[Raw]:
        return _ImageColumn(self.dataset.select_columns(self.image), self.image, self.root)

    def fingerprint(self) -> str:
        """The dataset's own, and where images are files beside it, their sizes and times."""
        digest = hashlib.sha256(self.dataset._fingerprint.encode())
        images = self.images()
        beside = len(self) and isinstance(images[0], str)
        return images_fingerprint(images if beside else [], digest)

    def class_names(self) -> list[str]:
        column, feature = label_column(self.task, self.dataset.features)
        if names := getattr(feature, "names", None):
            return list(names)
        texts = {str(value) for value in self._values(column)}
        check_labels(self.task, column, texts)
        try:
            return sorted(texts, key=lambda text: (int(text), text))
        except ValueError:
            return sorted(texts)

    def labels(self, classes: list[str]) -> np.ndarray | None:
        """Indices into `classes`; None where every label is -1, the mark of a hidden test set."""
        column, feature = label_column(self.task, self.dataset.features)
        names = getattr(feature, "names", None)
        values = self._values(column)
        if names is not None:
            hidden = [value < 0 for value in values]
            if values and all(hidden):
                return None
            if any(hidden):
                raise UserError(f"task {self.task.name}: row {hidden.index(True)} has no label ({column} is -1).")
        texts = [names[value] for value in values] if names is not None else [str(value) for value in values]
        position = {name: index for index, name in enumerate(classes)}
        unknown = sorted(set(texts) - position.keys())
        if unknown:
            raise UserError(
                f"task {self.task.name}: classes that train lacks: {', '.join(unknown[:5])}. "
                "Add training images of them or remove them."
            )
        return np.array([position[text] for text in texts], np.int64)

    def _values(self, column: str) -> list[Any]:
        values = self.dataset[column][:]
        for row, value in enumerate(values):
            if value is None:
                raise UserError(f"task {self.task.name}: row {row} has no label (column {column!r} is empty there).")
        return values


class _ImageColumn(Sequence):
    """Raw images of a dataset by row: bytes where they are embedded, else a path."""

    def __init__(self, dataset: Any, column: str, root: Path | None) -> None:
        assert dataset._indices is None, "rows of the table are those of the dataset"
        self.dataset, self.column, self.root = dataset, column, None if root is None else str(root)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Raw:  # type: ignore[override]
        # `datasets` itself takes four times as long for a row, a tenth of what a small JPEG costs altogether.
        return self._raw(self.dataset.data.column(self.column)[row].as_py())

    def __iter__(self) -> Iterator[Raw]:
        for start in range(0, len(self), 1000):
            for value in self.dataset[start : start + 1000][self.column]:
                yield self._raw(value)

    def _raw(self, value: Any) -> Raw:
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else value.get("path")
        if value is None:
            return b""
        if isinstance(value, bytes):
            return value
        return in_cache(value) if self.root is None else os.path.join(self.root, value)  # noqa: PTH118


def images_fingerprint(images: Iterable[Raw], digest: "hashlib._Hash") -> str:
    """`digest` after the bytes of images, or the paths, sizes and times of their files."""
    for image in images:
        if isinstance(image, bytes):
            digest.update(image)
            continue
        path = str(image)
        digest.update(path.encode())
        with contextlib.suppress(OSError):
            # Not through Path, which takes as long as all the rest: there may be a million files.
            status = os.stat(path)  # noqa: PTH116
            digest.update(f" {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def in_cache(path: str) -> str:
    """The path of an image that a data set of the Hub names: what was fetched, and no other file of this machine."""
    from datasets import config
    from huggingface_hub import constants

    caches = [config.HF_CACHE_HOME, config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE]
    real = os.path.realpath(path)
    if any(real.startswith(f"{os.path.realpath(cache)}{os.sep}") for cache in caches):
        return path
    return f"{config.HF_DATASETS_CACHE}{os.path.normpath(f'/{path}')}"
