"""One split of a data set of `datasets`, as a table of images and labels."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import config
from huggingface_hub import constants

from nfft.config.task import Task
from nfft.data.decode import RawImage
from nfft.data.sources.base import Files, images_fingerprint, in_order
from nfft.data.sources.column_names import BYTES_NAMES, PATH_NAMES
from nfft.data.sources.columns import check_labels, field_of, image_column, label_column
from nfft.data.sources.image_paths import image_paths
from nfft.errors import UserError
from nfft.text import shorten

# What programs write where there is no value; of text, it may be a class.
NO_LABELS = frozenset({"nan", "null", "n/a", "#n/a", "<na>"})


class DatasetTable:
    """One split of a data set, whose columns of images and labels are those that the task names, or likely ones.

    Args:
        root: what paths of images are relative to; None for a data set of the Hub.
        lines: of the file that each row ends on, in a table of text.
        name: of that file.
    """

    def __init__(
        self,
        task: Task,
        dataset: datasets.Dataset,
        root: Path | None,
        *,
        lines: Sequence[int] | None = None,
        name: str | None = None,
    ) -> None:
        self.task, self.root, self.lines, self.name = task, root, lines, name
        dataset = dataset.with_format(None)
        self.image = image_column(task, dataset.features)
        if isinstance(dataset.features[self.image], datasets.Image):
            dataset = dataset.cast_column(self.image, datasets.Image(decode=False))
        self.dataset = dataset
        self.paths: Files | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def find_images(self, roots: Sequence[Path]) -> list[str]:
        """Look for the files of a column of paths; returns notes of how they were found."""
        feature = self.dataset.features[self.image]
        if not (isinstance(feature, datasets.Value) and feature.dtype.endswith("string")):
            return []
        paths, notes = image_paths(self.task, self.dataset[self.image][:], self.image, roots)
        # The system is asked once of each, for the fingerprint and for images that are there twice.
        self.paths = Files(paths)
        return notes

    def part(self, split: str, rows: np.ndarray) -> "DatasetTable":
        """Some of the rows, as a split."""
        fingerprint = hashlib.sha256(f"{self.dataset._fingerprint} {split}".encode() + rows.tobytes()).hexdigest()[:32]
        chosen = self.dataset.select(rows, keep_in_memory=True, new_fingerprint=fingerprint)
        lines = None if self.lines is None else [self.lines[row] for row in rows]
        part = DatasetTable(self.task, chosen, self.root, lines=lines, name=self.name)
        part.paths = None if self.paths is None else Files(self.paths[row] for row in rows)
        return part

    def images(self) -> Sequence[RawImage]:
        if self.paths is not None:
            return self.paths
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
        texts = {_label(value) for value in self._values(column)}
        check_labels(self.task, column, texts)
        return in_order(texts)

    def odd_labels(self) -> tuple[str, ...]:
        """Notes where what may mean that there is no label is a class among others: -1 among numbers, or NaN."""
        try:
            column, feature = label_column(self.task, self.dataset.features)
        except UserError:  # raised when labels are asked for
            return ()
        if getattr(feature, "names", None):
            return ()
        counts = Counter(_label(value) for value in self.dataset[column][:])
        others = [text for text in counts if text not in ("-1", "None")]
        are_numbers = bool(others) and all(text.isdecimal() for text in others)
        odd = [text for text in counts if text.lower() in NO_LABELS and len(counts) > 1]
        return tuple(
            f"column {shorten(column, 60)}: {text} is taken for a class like any other ({counts[text]:,} rows); "
            "remove these rows if it means that there is no label."
            for text in [*(["-1"] if "-1" in counts and are_numbers else []), *odd]
        )

    def is_hidden(self) -> bool:
        """Whether every label is -1 or empty, the marks of a test set whose labels are kept back."""
        try:
            values = self.dataset[label_column(self.task, self.dataset.features)[0]][:]
        except UserError:  # raised when labels are asked for
            return False
        return bool(values) and all(value in (None, -1, "-1") for value in values)

    def labels(self, classes: list[str]) -> np.ndarray | None:
        """Indices into `classes`; None where every label is -1 or empty, and that is no class."""
        column, feature = label_column(self.task, self.dataset.features)
        names = getattr(feature, "names", None)
        if "-1" not in classes and self.is_hidden() and classes:
            return None
        values = self._values(column)
        if names is not None:
            hidden = [value < 0 for value in values]
            if any(hidden):
                raise UserError(f"task {self.task.name}: row {hidden.index(True)} has no label ({column} is -1).")
        texts = [names[value] for value in values] if names is not None else [_label(value) for value in values]
        position = {name: index for index, name in enumerate(classes)}
        unknown = sorted(set(texts) - position.keys())
        if unknown:
            raise UserError(
                f"task {self.task.name}: classes that train lacks: "
                f"{', '.join(shorten(name, 60) for name in unknown[:5])}. Add training images of them or remove them."
            )
        return np.array([position[text] for text in texts], np.int64)

    def _values(self, column: str) -> list[Any]:
        values = self.dataset[column][:]
        for row, value in enumerate(values):
            if value is None:
                where = "" if self.lines is None else f": line {self.lines[row]} of {shorten(self.name or '', 60)}"
                raise UserError(
                    f"task {self.task.name}: row {row} has no label (column {column!r} is empty there){where}."
                )
        return values


def _label(value: Any) -> str:
    """A label as text; some libraries write that as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class _ImageColumn(Sequence):
    """RawImage images of a dataset by row: bytes where they are embedded, else a path."""

    def __init__(self, dataset: datasets.Dataset, column: str, root: Path | None) -> None:
        self.dataset, self.column, self.root = dataset, column, None if root is None else str(root)
        feature = dataset.features[column]
        self.bytes_field = field_of(feature, BYTES_NAMES, "binary") or "bytes"
        self.path_field = field_of(feature, PATH_NAMES, "string") or "path"

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
            encoded = value.get(self.bytes_field)
            value = encoded if encoded is not None else value.get(self.path_field)
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
