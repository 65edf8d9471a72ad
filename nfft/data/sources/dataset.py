"""A data set as `datasets` has it: from the Hub, a folder laid out like one there, a local table, or a program."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import datasets
from datasets import config, exceptions
from huggingface_hub.errors import HTTPError
from yaml import YAMLError

from nfft.config.data_files import COLUMN_TABLES, SAVED, ending
from nfft.config.task import AUTO, Task
from nfft.data.sources.account import Account, Unused, named
from nfft.data.sources.base import Opened
from nfft.data.sources.column_table import read_column_table
from nfft.data.sources.columns import label_column
from nfft.data.sources.dataset_table import DatasetTable
from nfft.data.sources.image_paths import beside
from nfft.data.sources.listing import Folder
from nfft.data.sources.mirror import mirror
from nfft.data.sources.split_column import Divided, by_folders, candidates, divide
from nfft.data.sources.split_words import says_splits, split_of
from nfft.data.sources.text_table import read_text_table
from nfft.errors import UserError
from nfft.files import UNWRITABLE
from nfft.hub.dataset_card import check_card
from nfft.text import shorten

# What comes out of the library for data, cards and answers of the Hub that are not as it expects.
MISREAD = (
    ValueError, RuntimeError, exceptions.DatasetGenerationError, LookupError, TypeError, AttributeError, YAMLError,
)  # fmt: skip

# Rows by which it is seen that a column has nothing to do with splits.
FIRST = 20


def open_dataset(task: Task) -> Opened:
    """Every split of a task whose source is an id on the Hub, or a data set of a program's.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
    source, root = task.source, Path.cwd()
    if isinstance(source, datasets.Dataset):
        return _opened(task, {"train": source}, root)
    if isinstance(source, datasets.DatasetDict):
        return _opened(task, source, root)
    assert isinstance(source, str)
    # A Hub that says nothing now may name anything later.
    with _in_words(task, source), nullcontext() if check_card(source) else _offline():
        splits = datasets.load_dataset(source, task.config)
    return _opened(task, splits, None)


def open_repository(task: Task, source: str, folder: Folder) -> Opened:
    """Every split of a folder that is laid out like a data set on the Hub, or that `save_to_disk` has left.

    Raises:
        UserError: when it is not readable.
    """
    with _in_words(task, source):
        check_card(source)
        # No name of a user's reaches the library, which takes some for patterns, chains or formats.
        copy = mirror(folder)
        if any(name in folder.files for name in SAVED):
            saved = datasets.load_from_disk(str(copy.place))
            splits = {"train": saved} if isinstance(saved, datasets.Dataset) else saved
            left: list[str] = []
        else:
            builder = datasets.load_dataset_builder(str(copy.place), task.config)
            builder.download_and_prepare()
            splits = builder.as_dataset()
            files = builder.config.data_files or {}
            left = copy.left_over(str(path) for paths in files.values() for path in paths)
    opened = _opened(task, splits, Path(folder.path).resolve())
    unused = (named("file", "no part of the data set, by their names or its card", left),) if left else ()
    return Opened(opened.tables, opened.account + Account(unused))


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


def _divided(task: Task, table: DatasetTable, account: Account) -> Opened:
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


def _hidden(tables: dict[str, DatasetTable]) -> Account:
    """What there is to say of splits whose labels are kept back."""
    hidden = [name for name, table in tables.items() if name != "train" and table.is_hidden()]
    return Account(tuple(Unused("split", f"{name} has no labels: all are -1 or empty", 1) for name in hidden))


@contextmanager
def _in_words(task: Task, source: str) -> Iterator[None]:
    """Turn what `datasets` raises inside into a sentence.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
    datasets.disable_progress_bars()
    # What fails is raised too, and said in one sentence below.
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    path = Path(source).expanduser()
    try:
        yield
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
