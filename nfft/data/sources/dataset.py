"""A data set as `datasets` has it: from the Hub, a folder laid out like one, a local table, or a program."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import config, exceptions
from huggingface_hub import constants
from huggingface_hub.errors import HTTPError
from yaml import YAMLError

from nfft.config.data_files import COLUMN_TABLES, SAVED, ending
from nfft.config.task import AUTO, Task
from nfft.data.decode import RawImage
from nfft.data.sources.account import Account, Unused, named
from nfft.data.sources.base import Files, Opened, images_fingerprint, in_order
from nfft.data.sources.column_names import BYTES_NAMES, PATH_NAMES
from nfft.data.sources.column_table import read_column_table
from nfft.data.sources.columns import check_labels, field_of, image_column, label_column
from nfft.data.sources.image_paths import beside, image_paths
from nfft.data.sources.mirror import left_over, mirror
from nfft.data.sources.split_column import Divided, by_folders, candidates, divide, says_splits, split_of
from nfft.data.sources.text_table import read_text_table
from nfft.errors import UserError
from nfft.files import UNWRITABLE
from nfft.hub.dataset_card import check_card
from nfft.text import shorten

# What comes out of the library for data, cards and answers of the Hub that are not as it expects.
MISREAD = (
    ValueError, RuntimeError, exceptions.DatasetGenerationError, LookupError, TypeError, AttributeError, YAMLError,
)  # fmt: skip

# What programs write where there is no value; of text, it may be a class.
NO_LABELS = frozenset({"nan", "null", "n/a", "#n/a", "<na>"})
# Rows by which it is seen that a column has nothing to do with splits.
FIRST = 20


def open_dataset(task: Task) -> Opened:
    """Every split of a task whose source is a folder, an id on the Hub, or a data set of a program's.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
    source, root = task.source, Path.cwd()
    if isinstance(source, datasets.Dataset):
        return _opened(task, {"train": source}, root)
    if isinstance(source, datasets.DatasetDict):
        return _opened(task, source, root)
    assert isinstance(source, str)
    path = Path(source).expanduser()
    if not path.is_dir():
        return _opened(task, load_dataset(task, source), None)
    opened = _opened(task, load_dataset(task, source), path.resolve())
    return Opened(opened.tables, opened.account + _not_taken(task, path))


def _not_taken(task: Task, folder: Path) -> Account:
    """Tables and archives in a folder laid out like a repository of the Hub that are no part of the data set."""
    if is_saved(folder):
        return Account()
    place = mirror(folder)
    files = datasets.load_dataset_builder(str(place), task.config).config.data_files or {}
    names = left_over(folder, place, (str(path) for paths in files.values() for path in paths))
    return Account((named("file", "no part of the data set, by their names or its card", names),) if names else ())


def open_table(task: Task, path: Path) -> Opened:
    """The splits in a table: one, unless a column says which each row belongs to.

    Raises:
        UserError: when it cannot be read, or has no column of images.
    """
    dataset, lines, notes = read_table(path, task.name)
    table = DatasetTable(task, dataset, beside(path)[0], lines=lines, name=path.name)
    found = table.find_images(beside(path))
    return _divided(task, table, Account(notes=(*notes, *found)))


def read_table(path: Path, task: str) -> tuple[datasets.Dataset, Sequence[int] | None, tuple[str, ...]]:
    """A local table, of text the line that each row ends on, and notes of what was taken for granted."""
    if ending(path.name) in COLUMN_TABLES:
        return read_column_table(path, task), None, ()
    text = read_text_table(path)
    return datasets.Dataset(text.columns, fingerprint=text.fingerprint[:32]), text.lines, text.notes


def _opened(task: Task, splits: dict[str, datasets.Dataset], root: Path | None) -> Opened:
    tables = {name: DatasetTable(task, split, root) for name, split in splits.items()}
    if len(tables) == 1 and isinstance(only := next(iter(tables.values())), DatasetTable) and "train" in tables:
        return _divided(task, only, Account())
    return Opened({**tables}, _hidden(tables))


def _divided(task: Task, table: "DatasetTable", account: Account) -> Opened:
    """A table's rows by split, where a column says which they belong to."""
    features = table.dataset.features
    account += Account(notes=table.odd_labels())
    names = candidates(task, list(features))
    if task.split == AUTO:
        names += [name for name in features if name not in names and _holds_splits(table.dataset, name)]
    divided = Divided(None)
    if names:
        taken = {table.image, label_column(task, features)[0]}
        divided = divide(task, {name: _texts(table.dataset, name) for name in names}, taken)
    account += divided.account
    if divided.rows is None and table.paths is not None:
        divided = by_folders(task, table.image, table.dataset[table.image][:])
        account += divided.account
    if divided.rows is None:
        return Opened({"train": table}, account)
    tables = {split: table.part(split, rows) for split, rows in divided.rows.items()}
    return Opened({**tables}, account + _hidden(tables))


def _holds_splits(dataset: datasets.Dataset, column: str) -> bool:
    """Whether a column of text holds words for splits alone."""
    feature = dataset.features[column]
    is_text = isinstance(feature, datasets.Value) and feature.dtype.removeprefix("large_") == "string"
    if not is_text and not getattr(feature, "names", None):
        return False
    values = dataset.select_columns(column)
    # Most columns of text are told by their first row, and there may be a million.
    first = [value for value in _texts(values.select(range(min(len(values), FIRST))), column) if value is not None]
    return all(map(split_of, first)) and says_splits(_texts(values, column))


def _texts(dataset: datasets.Dataset, column: str) -> list[Any]:
    """The values of a column, its names where they are numbers of classes."""
    values, feature = dataset[column][:], dataset.features[column]
    if names := getattr(feature, "names", None):
        return [None if value is None or value < 0 else names[value] for value in values]
    return values


def _hidden(tables: dict[str, "DatasetTable"]) -> Account:
    """What there is to say of splits whose labels are kept back."""
    hidden = [name for name, table in tables.items() if name != "train" and table.is_hidden()]
    return Account(tuple(Unused("split", f"{name} has no labels: all are -1 or empty", 1) for name in hidden))


def load_dataset(task: Task, source: str) -> dict[str, datasets.Dataset]:
    """The data set in a folder or on the Hub, with the library's failures put in words.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
    datasets.disable_progress_bars()
    # What fails is raised too, and said in one sentence below.
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    path = Path(source).expanduser()
    try:
        is_checked = check_card(source)
        if not path.is_dir():
            with nullcontext() if is_checked else _offline():
                return datasets.load_dataset(source, task.config)
        # No name of a user's reaches the library, which takes some for patterns, chains or formats.
        place = mirror(path)
        if is_saved(path):
            saved = datasets.load_from_disk(str(place))
            return {"train": saved} if isinstance(saved, datasets.Dataset) else saved
        return datasets.load_dataset(str(place), task.config)
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
            raise UserError(f"{source} could not be read: {shorten(str(error), 200)}") from error
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
        raise UserError(f"the data of task {task.name} could not be read: {shorten(reason, 300)}") from error


@contextmanager
def _offline() -> Iterator[None]:
    """Let `datasets` take what it has: it asks a Hub that does not answer for minutes."""
    before, config.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE = before


def is_saved(folder: Path) -> bool:
    """Whether a folder is what `save_to_disk` leaves of a Dataset or a DatasetDict."""
    return any((folder / name).is_file() for name in SAVED)


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
