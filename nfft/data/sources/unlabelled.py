"""Images of which nothing says what they are: a folder of them, at any depth."""

from dataclasses import replace

from nfft.config.data_files import ARCHIVES, TABLES, ending
from nfft.config.task import Task
from nfft.data.sources.account import Account
from nfft.data.sources.base import Files
from nfft.data.sources.listing import account_of, list_folder
from nfft.errors import UserError
from nfft.files import expanded
from nfft.text import printable, shorten


def unlabelled_name(task: Task) -> str:
    """The folder's own name, for others to read."""
    return printable(expanded(str(task.unlabelled)).absolute().name)


def open_unlabelled(task: Task) -> tuple[Files, Account]:
    """The images in the folder that a task has as `unlabelled`, by path in order, and what of it is not used.

    Raises:
        UserError: when it is no folder, or has no images.
    """
    assert task.unlabelled is not None
    path, said = expanded(task.unlabelled), f"task.unlabelled={shorten(task.unlabelled, 200)}"
    if not path.is_dir():
        kind = ending(path.name)
        what = "a table" if kind in TABLES else "an archive" if kind in ARCHIVES else "a file"
        found = f"it is {what}: put the images into a folder" if path.is_file() else "there is no such folder"
        raise UserError(f"{said}: expected a folder of images; {found}.")
    folder = list_folder(path)
    account = account_of(folder.walk())
    images = Files(folder.picture_paths())
    if not images:
        raise UserError(f"{said} has no images. {'. '.join(account.lines) or 'It holds no files'}.")
    unused = tuple(replace(entry, reason=f"unlabelled: {entry.reason}") for entry in account.unused)
    return images, replace(account, unused=unused)
