"""Opens what a task has as its source: a file, a folder, a data set on the Hub, or data in memory."""

from pathlib import Path
from types import ModuleType

from nfft.config import registry
from nfft.config.data_files import ARCHIVES, SAVED, check_file, ending, special_kind
from nfft.config.task import Task
from nfft.data.sources.account import Account
from nfft.data.sources.archives import open_archive, open_shards, shards_in
from nfft.data.sources.arrays import Arrays, arrays_of
from nfft.data.sources.base import Opened, is_dataset
from nfft.data.sources.class_folders import class_folders
from nfft.data.sources.image_folder import has_configs, is_repository, layout_of
from nfft.data.sources.listing import Folder, list_folder
from nfft.data.sources.table_layout import folder_of_tables, split_folders
from nfft.errors import UserError, nearest
from nfft.text import shorten


def open_source(task: Task) -> Opened:
    """Every split of the task's source, and what of it is not used.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
    opened = _open(task)
    return Opened(opened.tables, _other_of_that_name(task) + opened.account)


def _open(task: Task) -> Opened:
    source = task.source
    if callable(source):
        return Opened({"train": arrays_of(task)})
    if isinstance(source, Arrays):
        return Opened({"train": source})
    if not isinstance(source, str) and not is_dataset(source):
        raise UserError(
            f"task {task.name}: its source must be a path, a dataset id on the Hub, a function or data in memory; "
            f"got {type(source).__name__}."
        )
    path = Path(source).expanduser() if isinstance(source, str) else None
    if path is not None and path.is_dir():
        return _open_folder(task, str(source), path)
    if path is not None and (path.is_file() or special_kind(path)):
        return _open_file(task, path)
    return _datasets().open_dataset(task)


def _open_file(task: Task, path: Path) -> Opened:
    check_file(path)
    if ending(path.name) in ARCHIVES:
        return open_archive(task, path)
    return _datasets().open_table(task, path)


def _open_folder(task: Task, source: str, path: Path) -> Opened:
    folder = list_folder(path)
    is_handed_on = any(name in folder.files for name in SAVED) or has_configs(folder)
    if not is_handed_on and not folder.holds_pictures and (shards := shards_in(path)):
        return open_shards(task, shards)
    if not is_handed_on and (opened := _open_tables(task, source, folder)) is not None:
        return opened
    if is_handed_on or is_repository(folder):
        return _datasets().open_repository(task, source, folder)
    return _open_classes(task, source, folder)


def _datasets() -> ModuleType:
    # Importing `datasets` takes a second, for which folders of images need not wait.
    from nfft.data.sources import dataset

    return dataset


def _open_tables(task: Task, source: str, folder: Folder) -> Opened | None:
    """What tables beside the images say; None where none does."""
    tables, splits = folder_of_tables(folder), split_folders(task, folder)
    if tables is None and splits is None:
        return None
    from nfft.data.sources.table_folder import open_split_tables, open_table_folder, says_labels

    if tables is None:
        assert splits is not None
        return open_split_tables(task, splits)
    if not folder.holds_pictures and not says_labels(task, tables) and is_repository(folder):
        # It may name the classes of those that lie in its folder of data.
        return None
    if len([inside for inside in tables.folders if inside.holds_pictures]) > 1 and not says_labels(task, tables):
        # It may say other things of the images; their classes are the folders.
        return _open_classes(task, source, folder)
    return open_table_folder(task, tables)


def _open_classes(task: Task, source: str, folder: Folder) -> Opened:
    if task.image == "label":
        raise UserError(
            f"task {task.name}: column 'label' holds int64, not images or their paths. Name another with "
            "--set task.image=..."
        )
    if task.label == "image":
        raise UserError(f"task {task.name}: column 'image' holds Image, not one class an image.")
    for column, name in ((task.image, "image"), (task.label, "label")):
        if column not in (None, name):
            raise UserError(f"task {task.name}: no column {column!r}; {nearest(str(column), ['image', 'label'])}")
    return class_folders(source, layout_of(folder, task))


def _other_of_that_name(task: Task) -> Account:
    """A note where a task of the catalog is taken, and a file or folder here is called like it."""
    is_of_catalog = callable(task.source) or (isinstance(task.source, str) and not Path(task.source).exists())
    if not (is_of_catalog and task.name.replace("-", "_") in registry.names("tasks")):
        return Account()
    if not Path(task.name).exists():
        return Account()
    name = shorten(task.name, 60)
    return Account(notes=(f"{name} is the catalog's task; for the one here, write --task ./{name}.",))
