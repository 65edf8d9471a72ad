"""A data set as `datasets` reads it from folders, files and the Hub, or as a program hands it over."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import config
from huggingface_hub import constants

from nfft.config.task import Task
from nfft.data.decode import RawImage
from nfft.data.sources.base import images_fingerprint, in_order
from nfft.data.sources.columns import check_labels, image_column, label_column
from nfft.errors import UserError


class DatasetTable:
    """One split of a data set, whose columns of images and labels are those that the task names, or likely ones.

    Args:
        root: what paths of images are relative to; None for a data set of the Hub.
    """

    def __init__(self, task: Task, dataset: datasets.Dataset, root: Path | None) -> None:
        self.task, self.root = task, root
        dataset = dataset.with_format(None)
        self.image = image_column(task, dataset.features)
        if isinstance(dataset.features[self.image], datasets.Image):
            dataset = dataset.cast_column(self.image, datasets.Image(decode=False))
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def images(self) -> Sequence[RawImage]:
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
        return in_order(texts)

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
    """RawImage images of a dataset by row: bytes where they are embedded, else a path."""

    def __init__(self, dataset: datasets.Dataset, column: str, root: Path | None) -> None:
        self.dataset, self.column, self.root = dataset, column, None if root is None else str(root)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> RawImage:  # type: ignore[override]
        # `datasets` itself takes four times as long for a row, a tenth of what a small JPEG costs altogether.
        if self.dataset._indices is not None:  # shuffled, or some rows of another
            row = self.dataset._indices.column(0)[row].as_py()
        return self._raw(self.dataset.data.column(self.column)[row].as_py())

    def __iter__(self) -> Iterator[RawImage]:
        for start in range(0, len(self), 1000):
            for value in self.dataset[start : start + 1000][self.column]:
                yield self._raw(value)

    def _raw(self, value: Any) -> RawImage:
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else value.get("path")
        if value is None:
            return b""
        if isinstance(value, bytes):
            return value
        return in_cache(value) if self.root is None else os.path.join(self.root, value)  # noqa: PTH118


def in_cache(path: str) -> str:
    """The path of an image that a data set of the Hub names: what was fetched, and no other file of this machine."""
    caches = [config.HF_CACHE_HOME, config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE]
    real = os.path.realpath(path)
    if any(real.startswith(f"{os.path.realpath(cache)}{os.sep}") for cache in caches):
        return path
    return f"{config.HF_DATASETS_CACHE}{os.path.normpath(f'/{path}')}"
