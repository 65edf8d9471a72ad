"""A data set as `datasets` reads it from folders, files and the Hub, or as a program hands it over."""

import csv
import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Features, Value, config, exceptions
from huggingface_hub import constants
from huggingface_hub.errors import HTTPError
from yaml import YAMLError

from nfft.config.task import Task
from nfft.data.decode import RawImage
from nfft.data.sources.base import Table, images_fingerprint, in_order
from nfft.data.sources.columns import check_labels, image_column, label_column
from nfft.data.sources.image_folder import folders_by_split, is_repository
from nfft.errors import UserError
from nfft.files import UNWRITABLE
from nfft.hub.dataset_card import check_card

# What comes out of the library for data, cards and answers of the Hub that are not as it expects.
MISREAD = (
    ValueError, RuntimeError, exceptions.DatasetGenerationError, LookupError, TypeError, AttributeError, YAMLError,
)  # fmt: skip


def dataset_tables(task: Task) -> dict[str, Table]:
    """Every split of a task whose source is a table, a folder, an id on the Hub, or a data set of a program's.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
    source, root = task.source, Path.cwd()
    if isinstance(source, datasets.Dataset):
        return {"train": DatasetTable(task, source, root)}
    if isinstance(source, datasets.DatasetDict):
        return {name: DatasetTable(task, split, root) for name, split in source.items()}
    assert isinstance(source, str)
    path = Path(source).expanduser()
    place = (path.resolve().parent if path.is_file() else path.resolve()) if path.exists() else None
    return {name: DatasetTable(task, split, place) for name, split in load_dataset(task, source).items()}


def load_dataset(task: Task, source: str) -> datasets.DatasetDict:
    """The data set at a path or on the Hub, with the library's failures put in words.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
    datasets.disable_progress_bars()
    # What fails is raised too, and said in one sentence below.
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    path = Path(source).expanduser()
    try:
        if path.is_file():
            if path.suffix == ".parquet":
                return datasets.load_dataset("parquet", data_files=str(path))
            return datasets.load_dataset("csv", data_files=str(path), **_as_text(path))
        if path.is_dir() and not is_repository(path):
            return datasets.load_dataset("imagefolder", data_files=_patterns(path), drop_labels=False)
        check_card(source)
        return datasets.load_dataset(str(path) if path.is_dir() else source, task.config)
    except (exceptions.DataFilesNotFoundError, datasets.data_files.EmptyDatasetError) as error:
        if path.is_dir():
            raise UserError(
                f"no images found in {source}. Expected one folder a class, or a table with rows."
            ) from error
        raise UserError(f"the dataset {source} holds no files that `datasets` can read.") from error
    except exceptions.DatasetNotFoundError as error:
        raise UserError(
            f"{source} is neither a folder here nor a dataset on the Hub: check its spelling, or that you have access "
            "(`hf auth login`)."
        ) from error
    except (OSError, HTTPError) as error:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise
        if path.exists():
            raise UserError(f"{source} could not be read: {error}") from error
        raise UserError(
            f"the Hub could not be reached for the dataset {source}, which is not cached here. To work offline, "
            "give --task a local folder, or run once online."
        ) from error
    except MISREAD as error:
        if "Config name is missing" in str(error):
            listed = " ".join(str(error).splitlines()[1:2]).rpartition(": ")[2]
            raise UserError(
                f"the dataset {source} has several configurations, {listed}: name one with --set task.config=..."
            ) from error
        reason = (str(error.__cause__ or error) or type(error).__name__).splitlines()[0]
        if not isinstance(error, (ValueError, RuntimeError, exceptions.DatasetGenerationError)):
            reason = f"its card, or what the Hub answered, has another form than expected ({type(error).__name__})"
        if "corresponds to no data" in reason:
            raise UserError(
                f"no images found in {source}. Expected one folder a class, or a table with rows."
            ) from error
        raise UserError(f"the data of task {task.name} could not be read: {reason}") from error


def _patterns(folder: Path) -> dict[str, list[str]]:
    return {
        name: [f"{glob.escape(str(root))}/**" for root in roots] for name, roots in folders_by_split(folder).items()
    }


def _as_text(path: Path) -> dict[str, Any]:
    """Options by which a CSV's cells stay as they are written: 007 is no number, NA may be a class."""
    separator = "\t" if path.suffix == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=separator), [])
    options: dict[str, Any] = {"sep": separator, "keep_default_na": False, "na_values": [""]}
    # The reader makes up names of its own for columns without, or with the same.
    if all(names) and len(set(names)) == len(names):
        options["features"] = Features({name: Value("string") for name in names})
    return options


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
