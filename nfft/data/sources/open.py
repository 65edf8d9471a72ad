"""Opens what a task has as its source: a file, a folder, a data set on the Hub, or data in memory."""

from pathlib import Path

from nfft.config.task import Task
from nfft.data.sources.arrays import Arrays, arrays_of
from nfft.data.sources.base import Opened, is_dataset
from nfft.data.sources.class_folders import class_folders
from nfft.data.sources.image_folder import is_repository, layout_of
from nfft.data.sources.listing import list_folder
from nfft.errors import UserError


def open_source(task: Task) -> Opened:
    """Every split of the task's source, and what of it is not used.

    Raises:
        UserError: when the source is absent, out of reach or not readable.
    """
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
    if isinstance(source, str) and (path := Path(source).expanduser()).is_dir():
        folder = list_folder(path)
        names_columns = task.image not in (None, "image") or task.label not in (None, "label")
        if not is_repository(folder):
            layout = layout_of(folder, task)
            if not layout.has_metadata and not names_columns:
                return class_folders(source, layout)
    # Importing `datasets` takes a second, for which folders of images need not wait.
    from nfft.data.sources.dataset import dataset_tables

    return Opened(dataset_tables(task))
