"""A task's columns of images and labels, split by split; the only door to `datasets`."""

import contextlib
import glob
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nfft.errors import UserError, nearest
from nfft.files import UNWRITABLE
from nfft.preprocess import Raw
from nfft.task import Task

IMAGE_NAMES = (
    "image",
    "img",
    "pixel_values",
    "image_path",
    "file_path",
    "filepath",
    "path",
    "file_name",
    "filename",
    "file",
)
LABEL_NAMES = ("label", "labels", "class", "category", "target", "fine_label", "label_name", "class_name", "species")


SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}


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
    root = path.resolve().parent if path.is_file() else path.resolve()
    return {name: DatasetTable(task, split, root) for name, split in _load_dataset(task, task.source).items()}


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
    return Arrays(columns)


class Arrays:
    """Columns that a task's own function returned."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns["label"])

    def class_names(self) -> list[str]:
        return list(self.columns["names"])

    def labels(self, classes: list[str]) -> np.ndarray:
        return np.asarray(self.columns["label"], np.int64)

    def images(self) -> Sequence[Raw]:
        return self.columns["image"]

    def fingerprint(self) -> None:
        return None


class DatasetTable:
    """One split of a data set that `datasets` read, with its image and label columns found."""

    def __init__(self, task: Task, dataset: Any, root: Path) -> None:
        from datasets import Image

        self.task, self.root = task, root
        self.image = _image_column(task, dataset.features)
        if isinstance(dataset.features[self.image], Image):
            dataset = dataset.cast_column(self.image, Image(decode=False))
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def images(self) -> Sequence[Raw]:
        return _ImageColumn(self.dataset.select_columns(self.image), self.image, self.root)

    def fingerprint(self) -> str:
        """The dataset's own, and where images are files beside it, their sizes and times."""
        digest = hashlib.sha256(self.dataset._fingerprint.encode())
        images = self.images()
        if len(self) and isinstance(images[0], str):
            for path in images:
                digest.update(str(path).encode())
                with contextlib.suppress(OSError):
                    status = Path(str(path)).stat()
                    digest.update(f" {status.st_size} {status.st_mtime_ns}".encode())
        return digest.hexdigest()

    def class_names(self) -> list[str]:
        column, feature = self._label()
        if names := getattr(feature, "names", None):
            return list(names)
        values = self._values(column)
        return [str(value) for value in sorted(set(values))]

    def labels(self, classes: list[str]) -> np.ndarray | None:
        """Indices into `classes`; None where every label is -1, the mark of a hidden test set."""
        column, feature = self._label()
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

    def _label(self) -> tuple[str, Any]:
        from datasets import ClassLabel, Value

        features, task = self.dataset.features, self.task
        column = task.label
        if column is None:
            typed = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
            named = [name for name in LABEL_NAMES if name in features]
            candidates = ([name for name in named if name in typed] or typed or named)[:1]
            if not candidates:
                raise UserError(
                    f"task {task.name}: no label column found among {', '.join(features)}. "
                    "A folder of images needs one folder a class, two at least; else name it with --set task.label=..."
                )
            column = candidates[0]
        if column not in features:
            raise UserError(f"task {task.name}: no column {column!r}; {nearest(column, features)}")
        feature = features[column]
        if isinstance(feature, Value) and feature.dtype.startswith(("float", "double")):
            raise UserError(
                f"task {task.name}: the labels in column {column!r} are floating-point numbers; classes are whole "
                "numbers or text. Convert the column, or name another with --set task.label=..."
            )
        if not isinstance(feature, ClassLabel | Value):
            raise UserError(f"task {task.name}: column {column!r} holds {_kind(feature)}, not one class an image.")
        return column, feature


class _ImageColumn(Sequence):
    """Raw images of a dataset by row: bytes where they are embedded, else a path."""

    def __init__(self, dataset: Any, column: str, root: Path) -> None:
        self.dataset, self.column, self.root = dataset, column, root

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, row: int) -> Raw:  # type: ignore[override]
        return self._raw(self.dataset[row][self.column])

    def __iter__(self) -> Iterator[Raw]:
        for start in range(0, len(self), 1000):
            for value in self.dataset[start : start + 1000][self.column]:
                yield self._raw(value)

    def _raw(self, value: Any) -> Raw:
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else value.get("path")
        if value is None:
            return b""
        return value if isinstance(value, bytes) else str(self.root / value)


def _kind(feature: Any) -> str:
    return getattr(feature, "dtype", type(feature).__name__)


def _image_column(task: Task, features: Any) -> str:
    from datasets import Image, Value

    if task.image is not None:
        if task.image not in features:
            raise UserError(f"task {task.name}: no column {task.image!r}; {nearest(task.image, features)}")
        feature = features[task.image]
        encoded = isinstance(feature, Value) and feature.dtype.removeprefix("large_") in ("string", "binary")
        if not (encoded or isinstance(feature, Image | dict)):
            raise UserError(
                f"task {task.name}: column {task.image!r} holds {_kind(feature)}, not images or their paths. "
                "Name another with --set task.image=..."
            )
        return task.image
    typed = [name for name, feature in features.items() if isinstance(feature, Image)]
    named = [name for name in IMAGE_NAMES if name in features]
    candidates = typed or named
    if not candidates:
        raise UserError(
            f"task {task.name}: no images found; expected one folder of them a class, or a table with a column of "
            f"images. Its columns are {', '.join(features)}: name it with --set task.image=..."
        )
    return candidates[0]


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


def _load_dataset(task: Task, source: str) -> Any:
    """A `datasets.DatasetDict`, with the library's failures put in words."""
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
