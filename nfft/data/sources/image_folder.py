"""How a folder of images is laid out: which of its folders are splits, and which are classes."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfft.config.task import NONE, Task
from nfft.data.sources.account import Account, named
from nfft.data.sources.listing import LINK_TO_NOTHING, LINK_UP, PLUGINS, Folder, account_of, list_folder
from nfft.errors import UserError
from nfft.text import shorten

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
# Files that say more of the images beside them.
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
WORDS = {word: kind for kind, names in SPLIT_NAMES.items() for word in names}
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

    @property
    def has_metadata(self) -> bool:
        """Whether a table beside the images of a split says what they are."""
        return any(_has_metadata(root) for roots in self.splits.values() for root in roots)


def is_repository(folder: Path | Folder) -> bool:
    """Whether a folder is laid out like a data set on the Hub, rather than as folders of images.

    Raises:
        UserError: when it may be either.
    """
    root = folder if isinstance(folder, Folder) else list_folder(folder)
    card = _card_in(root)
    if any(name.startswith("metadata.") for name in root.files) or CONFIGS.search(card):
        return True
    of_images = [inside.name for inside in root.folders if inside.holds_pictures]
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


def folders_by_split(folder: Path) -> dict[str, list[Path]]:
    """The folders of each split, by its name in lower case.

    Raises:
        UserError: for a layout in which images would get into a wrong split or class.
    """
    splits = layout_of(list_folder(folder)).splits
    return {name: [Path(root.path) for root in roots] for name, roots in splits.items()}


def layout_of(root: Folder, task: Task | None = None) -> Layout:
    """Which folders are splits: a folder's own are if all are named so.

    Else they are classes, of one split. `datasets` would take any word in a path for a split, a class "train station"
    for train, and a folder at any depth for a class.

    Args:
        task: says which splits are not used.

    Raises:
        UserError: for any other layout, in which images would get into a wrong split or class.
    """
    without = {kind for kind in SPLIT_NAMES if task is not None and getattr(task, kind) == NONE}
    left_out = [
        folder for folder in root.folders if WORDS.get(folder.name.lower()) in without and folder.holds_pictures
    ]
    folders = [folder for folder in root.folders if folder.holds_pictures and folder not in left_out]
    splits = [folder for folder in folders if folder.name.lower() in WORDS]
    others = [folder for folder in folders if folder not in splits]
    notes: list[str] = []
    if others and splits:
        notes = _check_beside(root, splits, others)
    by_name: dict[str, list[Folder]] = {}
    if others or not splits:
        _check_classes(root)
        by_name["train"] = [root]
    for split in splits if not others else []:
        _check_classes(split)
        by_name.setdefault(split.name.lower(), []).append(split)
    if not others:
        _check_labels(splits)
    account = Account(
        tuple(named("folder", f"task.{kind}=none", names) for kind, names in _by_kind(left_out).items()),
        tuple(notes),
    )
    return Layout(by_name, account + _account_of(root, by_name, left_out))


def _check_beside(root: Folder, splits: Sequence[Folder], others: Sequence[Folder]) -> list[str]:
    """See that folders named as splits, beside others, are classes; returns what is to be said of that."""
    beside = _listed([folder.name for folder in others])
    if any(not split.pictures for split in splits):
        raise UserError(
            f"{root.path} has {_listed([split.name for split in splits])}, which hold folders as splits do, beside "
            f"{beside}. Expected splits alone or classes alone: move the others elsewhere."
        )
    if doubtful := [split for split in splits if split.name.lower() in NO_CLASSES]:
        kind = WORDS[doubtful[0].name.lower()]
        raise UserError(
            f"{doubtful[0].path} holds images right in it, beside the folders of classes {beside}: as a split it would "
            f"need a folder a class, and as a class another name. Leave it out with --set task.{kind}=none, or "
            "rename it."
        )
    return [f"{_listed([split.name for split in splits])} beside {beside}: taken for a class, not for a split"]


def _check_classes(folder: Folder) -> None:
    """See that all images below `folder` lie right in the folder of their class."""
    classes = [inside for inside in folder.folders if inside.holds_pictures]
    if classes and folder.pictures:
        raise UserError(
            f"{folder.path}/{folder.pictures[0]} lies beside the folders of classes: move it into one of them, or away."
        )
    for class_folder in classes:
        for deeper in (inside for inside in class_folder.folders if inside.holds_pictures):
            raise UserError(
                f"{deeper.path} holds images a folder below {class_folder.name}: expected those of a class right in "
                f"its folder. Move them up, or, if {deeper.name} is a class itself, name the folder it is in: "
                f"{class_folder.path}."
            )


def _check_labels(splits: Sequence[Folder]) -> None:
    """See that a split has folders of classes, unless tables say what its images are."""
    if any(map(_has_metadata, splits)):
        return
    for split in splits:
        if split.pictures:
            kind = WORDS[split.name.lower()]
            mend = "Give each class a folder in it"
            if kind != "train":
                mend += f", or leave it out with --set task.{kind}=none"
            raise UserError(
                f"{split.path} holds {len(split.pictures):,} images in no folder of a class, so nothing says what they "
                f"are. {mend}."
            )


def _account_of(root: Folder, splits: dict[str, list[Folder]], left_out: Collection[Folder]) -> Account:
    """What below a folder is not used.

    Raises:
        UserError: for a class all of whose images cannot be used.
    """
    tops = [root, *(split for roots in splits.values() for split in roots if split is not root)]
    empty = [folder for top in tops for folder in top.folders if not folder.holds_pictures]
    for folder in empty:
        _check_empty(folder)
    names = [folder.path[len(root.path) :].lstrip("/") for folder in empty]
    folders = (named("folder", "no image that can be used", names),) if names else ()
    inside = (folder for folder in root.folders if folder not in left_out)
    return Account(folders) + account_of([root, *(below for folder in inside for below in folder.walk())])


def _check_empty(folder: Folder) -> None:
    """See that no one meant a folder without images to have some."""
    for inside in folder.walk():
        for _, why, name in inside.unused:
            if why in (LINK_TO_NOTHING, LINK_UP) or why.startswith(tuple(PLUGINS)):
                raise UserError(
                    f"{folder.path} has no image that can be used: {shorten(name, 60)} ({why}). Mend that, or move "
                    "the folder away."
                )


def _has_metadata(root: Folder) -> bool:
    return any(name in METADATA for name in root.files)


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


def _by_kind(splits: Sequence[Folder]) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for split in splits:
        kinds.setdefault(WORDS[split.name.lower()], []).append(split.name)
    return kinds


def _listed(names: Sequence[str]) -> str:
    return ", ".join(shorten(name, 60) for name in names[:5])
