"""Images that are there twice: in two splits, or under two labels."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nfft.config.task import Task
from nfft.data.decode import RawImage
from nfft.data.duplicates import duplicates
from nfft.data.sources.account import NOTHING_UNUSED, Account, counted, few_of
from nfft.data.sources.base import Files
from nfft.errors import UserError
from nfft.text import shorten

if TYPE_CHECKING:
    from nfft.data.splits import Data, Split

# Where the same image is: splits and places in them.
Same = Sequence[tuple["Split", int]]
# More images are compared only when someone asks for it: a run's start is not to read all of ImageNet.
MOST_COMPARED = 200_000
# Of two splits with the same image, the later keeps it.
ORDER = ("train", "validation", "test")


def heed_leaks(task: Task, data: "Data") -> "Data":
    """The data with what there is to say of images that are there twice; without them where the task drops them.

    Raises:
        UserError: where there are some, and the task refuses them.
    """
    count = sum(map(len, data.splits))
    if count > MOST_COMPARED and task.leaks == "warn":
        note = f"{count:,} images: too many to look for some that are there twice; --set task.leaks=refuse does"
        return replace(data, account=data.account + Account(notes=(note,)))
    images = _Images(data.splits)
    sizes = [size for split in data.splits for size in split.statuses()[:, 0].tolist()]
    groups = [[images.places[place] for place in group] for group in duplicates(images, sizes, _key(data.splits))]
    leaks = [group for group in groups if len({split.name for split, _ in group}) > 1]
    said = _said_of_leaks(task, leaks)
    labels = _said_of_labels(task, data.classes, groups)
    if task.leaks == "refuse" and (said + labels).lines:
        raise UserError(
            f"task {task.name}: {'; '.join((said + labels).lines)}. Mend the data, or let it pass: --set "
            "task.leaks=warn. With task.leaks=drop, what is in two splits is left out of training."
        )
    if task.leaks == "drop":
        data, said = _without(data, leaks)
    elif leaks:
        said += Account(details=("--set task.leaks=drop leaves these out of training, task.leaks=refuse stops",))
    return replace(data, account=data.account + said + labels)


def heed_unlabelled(task: Task, data: "Data") -> "Data":
    """The data without unlabelled images that are training images, too, and what there is to say of that.

    Raises:
        UserError: when some are in validation or test, too, unless the task drops what is there twice; or all are.
    """
    if data.unlabelled is None:
        return data
    images = _Images(data.splits)
    sizes = [size for split in data.splits for size in split.statuses()[:, 0].tolist()]
    twice: dict[str, list[tuple[int, str]]] = {name: [] for name in reversed(ORDER)}
    for group in duplicates(images, sizes, _key(data.splits)):
        others = {split.name: (split, index) for split, index in map(images.places.__getitem__, group)}
        _, mine = others.pop("unlabelled", (None, None))
        name = max(others, key=ORDER.index, default=None)
        if mine is None or name is None:
            continue
        for split, index in map(images.places.__getitem__, group):
            if split.name == "unlabelled":
                twice[name].append((index, f"{_where(task, split, index)} = {_where(task, *others[name])}"))
    _check_scored(task, {name: twice[name] for name in ("test", "validation")})
    kept = np.ones(len(data.unlabelled), bool)
    kept[[index for found in twice.values() for index, _ in found]] = False
    if not kept.any():
        raise UserError(
            f"task {task.name}: all images in task.unlabelled={shorten(str(task.unlabelled), 200)} are in the task's "
            "own splits, too: none is left to learn from. Name a folder of others."
        )
    dropped = [f"unlabelled: also in {name}" for name, found in twice.items() for _ in found]
    account = data.account + Account(counted("file", dropped))
    return replace(data, unlabelled=data.unlabelled.keep(kept), account=account)


def _check_scored(task: Task, twice: dict[str, list[tuple[int, str]]]) -> None:
    """See that none of the images that scores are of is trained on by the way of unlabelled ones."""
    found = {name: names for name, names in twice.items() if names}
    if not found or task.leaks == "drop":
        return
    counts = " and ".join(f"{len(names):,} of {name}" for name, names in found.items())
    names = few_of([name for names in found.values() for _, name in names])
    raise UserError(
        f"task {task.name}: the unlabelled images have {counts} among them ({names}), on which the score would be "
        "flattered. Take them out of that folder, or leave them out with --set task.leaks=drop."
    )


class _Images(Sequence):
    """The images of several splits, one after another, each read when it is asked for."""

    def __init__(self, splits: Sequence["Split"]) -> None:
        self.places = [(split, index) for split in splits for index in range(len(split))]
        self.sources = [(split.images, row) for split in splits for row in split.rows.tolist()]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> RawImage:  # type: ignore[override]
        images, row = self.sources[place]
        return images[row]


def _key(splits: Sequence["Split"]) -> str | None:
    """Changes when an image of the splits does; None where they are in memory alone."""
    digest = hashlib.sha256()
    for split in splits:
        if split.fingerprint is None:
            return None
        digest.update(f"{split.name} {split.fingerprint} ".encode() + split.rows.tobytes())
        if isinstance(split.images, Files):
            digest.update(split.statuses().tobytes())
    return digest.hexdigest()


def _without(data: "Data", leaks: Sequence[Same]) -> tuple["Data", Account]:
    """The data whose splits have no image that a later one has, and how many were dropped."""
    kept = {split.name: np.ones(len(split), bool) for split in data.splits}
    dropped = []
    for group in leaks:
        last = max((split.name for split, _ in group), key=ORDER.index)
        for split, index in group:
            if split.name != last:
                kept[split.name][index] = False
                dropped.append(f"{split.name}: also in {last}")
    splits = {split.name: split.keep(kept[split.name]) for split in data.splits}
    what = "file" if isinstance(data.train[0], str) else "row"
    without = replace(data, train=splits["train"], validation=splits["validation"], test=splits.get("test", data.test))
    return without, Account(counted(what, dropped))


def _said_of_leaks(task: Task, leaks: Sequence[Same]) -> Account:
    """What there is to say of images that are in two splits or three."""
    if not leaks:
        return NOTHING_UNUSED
    pairs = counted("image", (" and ".join(dict.fromkeys(split.name for split, _ in group)) for group in leaks))
    listed = ", ".join(f"{pair.count:,} in {pair.reason}" for pair in pairs)
    names = [f"{_where(task, *group[0])} = {_where(task, *group[-1])}" for group in leaks]
    return Account(notes=(f"the same image in two splits: {listed}",), details=(f"in two splits: {few_of(names)}",))


def _said_of_labels(task: Task, classes: Sequence[str], groups: Sequence[Same]) -> Account:
    """What there is to say of images that are there under two labels."""
    names = []
    for group in groups:
        first = {int(split.labels[index]): (split, index) for split, index in reversed(group)}
        if len(first) > 1:
            names.append(" = ".join(f"{_where(task, *first[label])} ({classes[label]})" for label in sorted(first)))
    if not names:
        return NOTHING_UNUSED
    return Account(
        notes=(f"the same image under two labels: {len(names):,}",), details=(f"under two labels: {few_of(names)}",)
    )


def _where(task: Task, split: "Split", index: int) -> str:
    """Where an image is from: its path below the task's folder, or a row."""
    where = split.where(index)
    if not isinstance(split[index], str):
        return f"{split.name} {where}"
    top = f"{Path(task.source).expanduser().absolute()}/" if isinstance(task.source, str) else ""
    return where.removeprefix(top)
