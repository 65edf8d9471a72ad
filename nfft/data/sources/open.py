"""Opens what a task has as its source: a file, a folder, a data set on the Hub, or data in memory."""

import csv
from pathlib import Path
from typing import Any

import datasets
from datasets import Dataset, DatasetDict, Features, Value, exceptions

from nfft.config.task import Task
from nfft.data.sources.arrays import Arrays, arrays_of
from nfft.data.sources.base import Table
from nfft.data.sources.dataset import DatasetTable
from nfft.data.sources.image_folder import files_by_split, is_repository
from nfft.errors import UserError
from nfft.files import UNWRITABLE


def load_dataset(task: Task, source: str) -> DatasetDict:
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
            return datasets.load_dataset("imagefolder", data_files=files_by_split(path), drop_labels=False)
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
    except (ConnectionError, OSError, TimeoutError) as error:
        if error.errno in UNWRITABLE:
            raise
        if path.exists():
            raise UserError(f"{source} could not be read: {error}") from error
        raise UserError(
            f"the Hub could not be reached for the dataset {source}, which is not cached here. To work offline, "
            "give --task a local folder, or run once online."
        ) from error
    except (ValueError, RuntimeError, exceptions.DatasetGenerationError) as error:
        if "Config name is missing" in str(error):
            listed = " ".join(str(error).splitlines()[1:2]).rpartition(": ")[2]
            raise UserError(
                f"the dataset {source} has several configurations, {listed}: name one with --set task.config=..."
            ) from error
        reason = (str(error.__cause__ or error) or type(error).__name__).splitlines()[0]
        if "corresponds to no data" in reason:
            raise UserError(
                f"no images found in {source}. Expected one folder a class, or a table with rows."
            ) from error
        raise UserError(f"the data of task {task.name} could not be read: {reason}") from error


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


def open_tables(task: Task) -> dict[str, Table]:
    """Every split of the task's source, by the source's own names; "train" where it has no splits.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
    source = task.source
    if callable(source):
        return {"train": arrays_of(task)}
    if isinstance(source, Arrays):
        return {"train": source}
    root: Path | None
    if isinstance(source, str):
        path = Path(source).expanduser()
        root = (path.resolve().parent if path.is_file() else path.resolve()) if path.exists() else None
        splits = load_dataset(task, source)
    elif not isinstance(source, Dataset | DatasetDict):
        raise UserError(
            f"task {task.name}: its source must be a path, a dataset id on the Hub, a function or data in memory; "
            f"got {type(source).__name__}."
        )
    else:
        root = Path.cwd()
        splits = {"train": source} if isinstance(source, Dataset) else source
    return {name: DatasetTable(task, split, root) for name, split in splits.items()}
