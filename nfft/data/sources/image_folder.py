"""How a folder of images is laid out: which of its folders are splits, and which are classes."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nfft.config.task import NONE, Task
from nfft.data.decode import PLUG_INS
from nfft.data.sources.account import Account, Unused, named
from nfft.data.sources.detection import check_classes_are_meant
from nfft.data.sources.listing import LINK_TO_NOTHING, LINK_UP, Folder, account_of, ending_of
from nfft.data.sources.split_words import NAMED, SPLIT_NAMES, split_of
from nfft.data.sources.table_layout import is_metadata
from nfft.errors import UserError
from nfft.text import shorten

# Flat folders of these names beside classes are hardly classes; a train may be one beside a bus, or what is valid.
NO_CLASSES = ("validation", "val", "test", "testing")
# The part of a card by which the Hub tells the files of a data set.
CONFIGS = re.compile(rb"^configs:", re.MULTILINE)


@dataclass(frozen=True)
class Layout:
    """What the folders of a task are.

    Attributes:
        splits: the folders of each split, by its name in lower case; "train" alone where there are no splits.
        account: what below the task's folder is not used.
    """

    splits: dict[str, list[Folder]]
    account: Account


def is_repository(root: Folder) -> bool:
    """Whether a folder is laid out like a data set on the Hub, rather than as folders of images.

    Raises:
        UserError: when it may be either.
    """
    card = _card_in(root)
    if any(is_metadata(name) for name in root.files) or has_configs(root):
        return True
    of_images = _image_folders(root)
    if parquet := _parquet_in(root):
        if len(of_images) > 1 and not card:
            raise UserError(
                f"{root.path} has {shorten(parquet, 60)} beside folders of images, {_listed(of_images)}. Expected one "
                "or the other: name the file with --task, or move it elsewhere."
            )
        return True
    # People keep notes beside their images, too, and cards.
    notes = any(name == "README.md" or name.endswith(".csv") or ".json" in name for name in root.files)
    return notes and not of_images


def has_configs(root: Folder) -> bool:
    """Whether a card in a folder tells the files of a data set, as on the Hub."""
    return CONFIGS.search(_card_in(root)) is not None


def layout_of(root: Folder, task: Task) -> Layout:
    """Which folders are splits: those that the task names, else a folder's own if all are named so.

    Else they are classes, of one split. `datasets` would take any word in a path for a split, a class "train station"
    for train, and a folder at any depth for a class.

    Args:
        task: may name its splits, and say which of them are not used.

    Raises:
        UserError: for any other layout, in which images would get into a wrong split or class.
    """
    check_classes_are_meant(root)
    asked = {kind: getattr(task, kind) for kind in SPLIT_NAMES}
    left_out = [inside for inside in _image_folders(root) if asked.get(NAMED.get(inside.name.lower(), "")) == NONE]
    account = Account(
        tuple(Unused("folder", f"{_name(inside)}: task.{_kind(inside, {})}=none", 1) for inside in left_out)
    )
    root = _without(root, left_out)
    inside = _image_folders(root)
    kinds = {folder.path: kind for folder in inside if (kind := _kind(folder, asked))}
    splits = [folder for folder in inside if folder.path in kinds]
    others = [folder for folder in inside if folder.path not in kinds]
    by_name: dict[str, list[Folder]] = {}
    for split in splits:
        by_name.setdefault(split.name if split.name in asked.values() else split.name.lower(), []).append(split)
    if splits and "train" not in kinds.values() and _are_classes_of(splits, others):
        account += Account(notes=(f"the classes beside {_listed(splits)} are for training",))
        return _layout(root, {"train": [_without(root, splits)], **by_name}, kinds, account)
    if others and any(split.name in asked.values() for split in splits):
        account += Account((named("folder", "not named as a split", [folder.name for folder in others]),))
        return _layout(_without(root, others), by_name, kinds, account)
    if splits and not others:
        return _layout(root, by_name, kinds, account)
    if others and (kinds := _kinds_of_all(inside)):
        by_name = {}
        for folder in inside:
            by_name.setdefault(kinds[folder.path], []).append(folder)
        shown = ", ".join(f"{kind} {_listed(folders)}" for kind, folders in by_name.items())
        return _layout(root, by_name, kinds, account + Account(notes=(f"folders are splits: {shown}",)))
    if splits:
        account += Account(notes=(_check_beside(root, splits, others),))
    return _layout(root, {"train": [root]}, {}, account)


def _kinds_of_all(folders: Sequence[Folder]) -> dict[str, str]:
    """Which split each folder is, by its path, where all are called so in a wider sense, as train_images; else none."""
    kinds = {folder.path: kind for folder in folders if (kind := split_of(folder.name))}
    is_split = len(kinds) == len(folders) and "train" in kinds.values() and len(set(kinds.values())) > 1
    return kinds if is_split else {}


def _layout(root: Folder, by_name: dict[str, list[Folder]], kinds: Mapping[str, str], account: Account) -> Layout:
    """The layout of folders by their splits.

    Args:
        kinds: what the folders that are splits by their names serve as, by their paths.
    """
    splits = [top for tops in by_name.values() for top in tops if top.path in kinds]
    for top in (top for tops in by_name.values() for top in tops):
        _check_classes(top)
    _check_labels(splits, kinds)
    return Layout(by_name, account + _account_of(root, [root, *splits]))


def _kind(folder: Folder, asked: Mapping[str, str | None]) -> str | None:
    """Which split a folder is by its name: as the task says, else as people write it; None for any other."""
    named_by_task = (kind for kind, name in asked.items() if name == folder.name)
    return next(named_by_task, None) or NAMED.get(folder.name.lower())


def _image_folders(folder: Folder) -> list[Folder]:
    """Those inside that hold images."""
    return [inside for inside in folder.folders if inside.holds_pictures]


def _without(folder: Folder, parts: Sequence[Folder]) -> Folder:
    paths = {part.path for part in parts}
    return replace(folder, folders=tuple(inside for inside in folder.folders if inside.path not in paths))


def _are_classes_of(splits: Sequence[Folder], others: Sequence[Folder]) -> bool:
    """Whether `others` are classes, and those in splits all among them."""
    classes = {folder.name for folder in others}
    inside = [{below.name for below in _image_folders(split)} for split in splits]
    return all(names and names <= classes for names in inside)


def _check_beside(root: Folder, splits: Sequence[Folder], others: Sequence[Folder]) -> str:
    """See that folders named as splits, beside others, are classes; returns what is to be said of that."""
    beside = _listed(others)
    if any(not split.pictures for split in splits):
        train = next((split.name for split in splits if NAMED[split.name.lower()] == "train"), None)
        name_them = f", or name the split with --set task.train={shorten(train, 60)}" if train else ""
        raise UserError(
            f"{root.path} has {_listed(splits)}, which hold folders as splits do, beside "
            f"{beside}. Expected splits alone or classes alone: move the others elsewhere{name_them}."
        )
    if doubtful := [split for split in splits if split.name.lower() in NO_CLASSES]:
        kind = NAMED[doubtful[0].name.lower()]
        raise UserError(
            f"{doubtful[0].path} holds images right in it, beside the folders of classes {beside}: as a split it would "
            f"need a folder a class, and as a class another name. Leave it out with --set task.{kind}=none, or "
            "rename it."
        )
    return f"{_listed(splits)} beside {beside}: taken for a class, not for a split"


def _check_classes(folder: Folder) -> None:
    """See that all images below `folder` lie right in the folder of their class."""
    classes = _image_folders(folder)
    if classes and folder.pictures:
        loose = Path(folder.path, folder.pictures[0])
        raise UserError(f"{loose} lies beside the folders of classes: move it into one of them, or away.")
    for class_folder in classes:
        for deeper in _image_folders(class_folder):
            raise UserError(
                f"{deeper.path} holds images a folder below {class_folder.name}: expected those of a class right in "
                f"its folder. Move them up, or, if {deeper.name} is a class itself, name the folder it is in: "
                f"{class_folder.path}."
            )


def _check_labels(splits: Sequence[Folder], kinds: Mapping[str, str]) -> None:
    """See that a split has folders of classes: one that tables say it of has been opened by these."""
    for split in splits:
        if split.pictures:
            kind = kinds[split.path]
            mend = "Give each class a folder in it"
            if kind in ("validation", "test"):
                mend += f", or leave it out with --set task.{kind}=none"
            raise UserError(
                f"{split.path} holds {len(split.pictures):,} images in no folder of a class, so nothing says what they "
                f"are. {mend}."
            )


def _account_of(root: Folder, tops: Sequence[Folder]) -> Account:
    """What below a folder is not used.

    Args:
        tops: folders of classes.

    Raises:
        UserError: for a class all of whose images cannot be used.
    """
    for top in tops:
        _check_links(top)
    empty = [folder for top in tops for folder in top.folders if not folder.holds_pictures]
    for folder in empty:
        _check_empty(folder)
    names = [folder.path[len(root.path) :].lstrip(os.sep) for folder in empty]
    folders = (named("folder", "no image that can be used", names),) if names else ()
    return Account(folders) + account_of(root.walk())


def _check_links(top: Folder) -> None:
    """See that no class is a link to a folder that is not there, on a disk that is missing, say."""
    lost = [name for _, why, name in top.unused if why == LINK_TO_NOTHING and not ending_of(name)]
    if lost and _image_folders(top):
        raise UserError(
            f"{Path(top.path, lost[0])} is a link to nothing, beside the folders of classes: mend it, or remove it."
        )


def _check_empty(folder: Folder) -> None:
    """See that no one meant a folder without images to have some."""
    for inside in folder.walk():
        for _, why, name in inside.unused:
            if why in (LINK_TO_NOTHING, LINK_UP) or why.endswith(tuple(plug_in.advice for plug_in in PLUG_INS)):
                raise UserError(
                    f"{folder.path} has no image that can be used: {shorten(name, 60)} ({why}). Mend that, or move "
                    "the folder away."
                )


def _card_in(root: Folder) -> bytes:
    """The metadata that a README begins with, as cards of the Hub do; nothing where there is none."""
    if "README.md" not in root.files:
        return b""
    text = Path(root.path, "README.md").read_bytes().removeprefix(b"\xef\xbb\xbf")
    return text.split(b"\n---", 1)[0] if text.startswith(b"---") else b""


def _parquet_in(root: Folder) -> str | None:
    """A Parquet file right in a folder, or in one inside it."""
    paths = [*root.files, *(f"{folder.name}/{name}" for folder in root.folders for name in folder.files)]
    return next((path for path in paths if path.endswith(".parquet")), None)


def _name(folder: Folder) -> str:
    return shorten(folder.name, 60)


def _listed(folders: Sequence[Folder]) -> str:
    return ", ".join(map(_name, folders[:5]))
