"""A folder of images with tables beside them that say what they are."""

import re
from collections.abc import Sequence
from pathlib import Path

from nfft.config.task import Task
from nfft.data.sources.account import Account, named
from nfft.data.sources.base import Opened
from nfft.data.sources.columns import image_column, label_column
from nfft.data.sources.dataset import open_table, read_table
from nfft.data.sources.listing import Folder
from nfft.data.sources.split_words import split_of
from nfft.data.sources.table_layout import is_metadata, tables_in
from nfft.errors import UserError
from nfft.text import shorten


def open_table_folder(task: Task, folder: Folder) -> Opened:
    """The splits of a folder of images by its tables.

    Raises:
        UserError: when none says what the images are, or several may.
    """
    chosen, unused = _chosen(task, folder)
    tables, account = {}, Account()
    for split, name in chosen.items():
        opened = open_table(task, Path(folder.path, name))
        tables.update(opened.tables if len(chosen) == 1 else {split: opened.tables["train"]})
        account += opened.account
    return Opened(tables, account + Account(unused) + not_in_tables(folder, list(tables.values())))


def open_split_tables(task: Task, splits: dict[str, list[Folder]]) -> Opened:
    """The splits of a folder in which each has a table of its own.

    Raises:
        UserError: when one has none that says what its images are.
    """
    tables, account = {}, Account()
    for split, roots in splits.items():
        if len(roots) > 1:
            raise UserError(f"{' and '.join(root.path for root in roots)} are both called {split}: move one away.")
        opened = open_table_folder(task, roots[0])
        if list(opened.tables) != ["train"]:
            raise UserError(
                f"{roots[0].path} is a split by its name, and its table has others in a column. Take no column for "
                "it: --set task.split=none."
            )
        tables[split] = opened.tables["train"]
        account += opened.account
    return Opened(tables, account)


def says_labels(task: Task, folder: Folder) -> bool:
    """Whether a table in a folder has columns of images and labels."""
    return any(_why_unfit(task, Path(folder.path, name)) is None for name in tables_in(folder))


def not_in_tables(folder: Folder, tables: Sequence) -> Account:
    """Pictures in a folder that no table names."""
    used = {path for table in tables for path in getattr(table, "paths", None) or ()}
    left = [path for path in folder.picture_paths() if path not in used]
    return Account((named("file", "in no table", [Path(path).name for path in left]),)) if left and used else Account()


def _chosen(task: Task, folder: Folder) -> tuple[dict[str, str], tuple]:
    """Which table is which split, and which are not used."""
    names = tables_in(folder)
    if metadata := [name for name in names if is_metadata(name)]:
        names = metadata
    if len(names) == 1:
        return {"train": names[0]}, ()
    reasons = {name: _why_unfit(task, Path(folder.path, name)) for name in names}
    fit = [name for name, reason in reasons.items() if reason is None]
    splits = {name: _split(name) for name in fit}
    if "train" in splits.values():
        by_split: dict[str, list[str]] = {}
        for name in fit:
            if (split := splits[name]) is not None:
                by_split.setdefault(split, []).append(name)
            else:
                reasons[name] = "beside tables of splits"
        doubled = next((found for found in by_split.values() if len(found) > 1), fit if len(by_split) < 1 else None)
        chosen = {split: found[0] for split, found in by_split.items()}
    else:
        doubled = fit if len(fit) > 1 else None
        chosen = {"train": fit[0]} if fit else {}
    if doubled:
        shown = ", ".join(shorten(name, 60) for name in doubled[:5])
        raise UserError(
            f"{folder.path} has several tables of images, {shown}: name one, as --task {folder.path}/{doubled[0]}."
        )
    if not chosen:
        shown = "; ".join(f"{shorten(name, 60)}: {reason}" for name, reason in list(reasons.items())[:3])
        raise UserError(
            f"no table in {folder.path} says what its images are ({shown}). Expected one with a column of paths and "
            "one of labels; name them with --set task.image=... and task.label=..."
        )
    unused = tuple(named("file", reason, [name]) for name, reason in reasons.items() if reason is not None)
    return chosen, unused


def _split(name: str) -> str | None:
    """The split that a table's name says: "train_labels.csv", "trainLabels.csv"."""
    words = re.split(r"[\W_\d]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.rpartition(".")[0]))
    return next(filter(None, map(split_of, words)), None)


def _why_unfit(task: Task, path: Path) -> str | None:
    """Why a table does not say what images are; None where it does."""
    try:
        features = read_table(path, task.name)[0].features
        image_column(task, features)
    except UserError:
        return "no table of images"
    try:
        label_column(task, features)
    except UserError:
        return "no column of labels"
    return None
