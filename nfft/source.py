"""Opens what a task names as its source: a file, a folder, or a data set on the Hub, by way of `datasets`."""

import glob
from pathlib import Path
from typing import Any

from nfft.errors import UserError
from nfft.files import UNWRITABLE
from nfft.task import Task

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}


def load_dataset(task: Task, source: str) -> Any:
    """A `datasets.DatasetDict`, with the library's failures put in words.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
    import datasets
    from datasets import exceptions

    datasets.disable_progress_bars()
    # What fails is raised too, and said in one sentence below.
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    path = Path(source).expanduser()
    try:
        if path.is_file():
            builder = "parquet" if path.suffix == ".parquet" else "csv"
            options = {"sep": "\t"} if path.suffix == ".tsv" else {}
            return datasets.load_dataset(builder, data_files=str(path), **options)
        if path.is_dir() and not _is_repository(path):
            return datasets.load_dataset("imagefolder", data_files=_image_files(path), drop_labels=False)
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
    except (ValueError, RuntimeError, datasets.exceptions.DatasetGenerationError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        if "corresponds to no data" in reason:
            raise UserError(
                f"no images found in {source}. Expected one folder a class, or a table with rows."
            ) from error
        raise UserError(f"the data of task {task.name} could not be read: {reason}") from error


def _is_repository(folder: Path) -> bool:
    """Whether a folder is laid out like a dataset on the Hub, rather than as folders of images."""
    marks = ("README.md", "*.parquet", "data/*.parquet", "*/*.parquet", "metadata.*", "*.json*", "*.csv")
    return any(next(folder.glob(mark), None) is not None for mark in marks)


def _image_files(folder: Path) -> dict[str, str]:
    """Patterns of a folder's images by split: its own folders are splits if all are named so, else classes.

    `datasets` would take any word in a path for a split: a class "train station" for train.
    """
    inside = [each.name for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    words = {word for names in SPLIT_NAMES.values() for word in names}
    if inside and words.issuperset(inside):
        return {name: f"{glob.escape(str(folder / name))}/**" for name in inside}
    return {"train": f"{glob.escape(str(folder))}/**"}
