"""A task to splits of labeled images: which split is which, what is held out, what must not be."""

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from nfft.config.task import NONE, Task
from nfft.data.decode import RawImage
from nfft.data.leaks import heed_leaks
from nfft.data.rendering import PLAIN, Rendering
from nfft.data.sources.account import NOTHING_UNUSED, Account, Unused, few_of
from nfft.data.sources.base import ABSENT, Files, Joined, Table, images_fingerprint, status_of
from nfft.data.sources.memory import content_hash, is_in_memory
from nfft.data.sources.open import open_source
from nfft.data.sources.split_words import SPLIT_NAMES
from nfft.data.sources.unlabelled import open_unlabelled
from nfft.errors import UserError, nearest
from nfft.text import shorten

# In place of the class of an image.
NO_LABEL = -1
# As in arXiv 2109.01134 (CoOp).
VALIDATION_SHOTS = 4
# The last word of a seed says what it is for, as in the loader.
SHOTS = 5


@dataclass(frozen=True)
class Split:
    """Images with their classes.

    Attributes:
        name: "train", "validation", "test" or "unlabelled".
        images: raw images by row, as bytes, paths or arrays.
        rows: which rows of `images` belong here, shape (n,).
        labels: the class of each, shape (n,), int64; NO_LABEL where nothing says it.
        fingerprint: changes when the images do; None where none can be broken.
        rendering: how its images are shown.
    """

    name: str
    images: Sequence[RawImage]
    rows: np.ndarray
    labels: np.ndarray
    fingerprint: str | None
    rendering: Rendering = PLAIN

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> RawImage:
        return self.images[int(self.rows[index])]

    def statuses(self) -> np.ndarray:
        """What the system says of its files, as `Files` has it; -1 for images that are none."""
        if isinstance(self.images, Files):
            return self.images.statuses[self.rows]
        images = (self.images[row] for row in self.rows.tolist())
        statuses = [status_of(image) if isinstance(image, str) else ABSENT for image in images]
        return np.array(statuses, np.int64).reshape(-1, 3)

    def where(self, index: int) -> str:
        """Where image `index` is from, for people: its path, or a row where images are embedded."""
        raw = self[index]
        return raw if isinstance(raw, str) else f"row {self.rows[index]}"

    def keep(self, indices: np.ndarray, name: str | None = None) -> "Split":
        """The split with these images alone, by index or mask."""
        return replace(self, name=name or self.name, rows=self.rows[indices], labels=self.labels[indices])


@dataclass(frozen=True)
class Data:
    """A task's images, ready to be scanned and trained on.

    Attributes:
        test: None where the data has none.
        account: what of the data is not used, and what was taken for granted.
        unlabelled: more images to train on, without labels.
    """

    classes: list[str]
    train: Split
    validation: Split
    test: Split | None
    account: Account = NOTHING_UNUSED
    unlabelled: Split | None = None

    def __post_init__(self) -> None:
        for split in self.splits:
            if not len(split):
                raise UserError(f"the {split.name} split has no images that can be read. Add some or leave it out.")

    @property
    def splits(self) -> list[Split]:
        every = (self.train, self.validation, self.test, self.unlabelled)
        return [split for split in every if split is not None]

    @cached_property
    def learned(self) -> Split:
        """All images that are trained on: those with labels, then those without."""
        return self.train if self.unlabelled is None else _joined(self.train, self.unlabelled)


def load_data(task: Task) -> Data:
    """Open a task's data, name its classes and hold out what it has no split for.

    What is held out depends on the labels alone, so it is the same in every run.

    Raises:
        UserError: for data that is absent, out of reach, unlabeled, or labeled inconsistently.
    """
    opened = open_source(task)
    tables = opened.tables
    names = {kind: _split_name(task, kind, tables) for kind in SPLIT_NAMES}
    present = [name for name in names.values() if name is not None]
    if len(set(present)) < len(present):
        listed = ", ".join(f"{kind}={name}" for kind, name in names.items())
        raise UserError(f"task {task.name}: train, validation and test must be different splits; got {listed}.")
    if names["train"] is None:
        raise UserError(
            f"task {task.name} has no train split; found {', '.join(tables)}. Name it with --set task.train=..."
        )
    classes = tables[names["train"]].class_names()
    splits = {}
    for kind, name in names.items():
        if name is None or (labels := tables[name].labels(classes)) is None:
            continue
        table = tables[name]
        splits[kind] = _split(kind, task, table, labels)
    if "train" not in splits:
        raise UserError(f"task {task.name}: the train split has no labels (all are -1).")
    check_classes(task, classes, splits)
    account = opened.account + _alike(classes) + _unused_splits(task, names, tables, splits)
    data = heed_leaks(task, replace(_hold_out(task, classes, splits), account=account))
    check_classes(task, classes, {split.name: split for split in data.splits})
    return data


def with_unlabelled(task: Task, data: Data) -> Data:
    """The data with the images that the task has as `unlabelled`; the same where it has none.

    `nfft.data.leaks.heed_unlabelled` looks for those that are elsewhere, too.

    Raises:
        UserError: when there is no such folder, or nothing in it.
    """
    if task.unlabelled is None:
        return data
    images, account = open_unlabelled(task)
    nothing = np.full(len(images), NO_LABEL)
    fingerprint = images_fingerprint(images, hashlib.sha256())
    split = Split("unlabelled", images, np.arange(len(images)), nothing, fingerprint, data.train.rendering)
    return replace(data, unlabelled=split, account=data.account + account)


def _joined(first: Split, second: Split) -> Split:
    """The images of one split and then those of another, shown as the first are."""
    images: Sequence[RawImage] = Joined(first.images, second.images)
    if isinstance(first.images, Files) and isinstance(second.images, Files):
        images = Files([*first.images, *second.images])
    digest = hashlib.sha256()
    for split in (first, second):
        # Where none can be broken, the pixels tell data apart.
        digest.update((split.fingerprint or images_fingerprint(split.images, hashlib.sha256())).encode())
    return replace(
        first,
        images=images,
        rows=np.concatenate([first.rows, len(first.images) + second.rows]),
        labels=np.concatenate([first.labels, second.labels]),
        fingerprint=digest.hexdigest(),
    )


def load_whole_data(task: Task) -> tuple[list[str], Split, Account]:
    """Class names and every labeled image of data that have one split, to be scored: nothing is held out.

    Raises:
        UserError: when there are several splits, or no labels.
    """
    opened = open_source(task)
    tables = opened.tables
    if len(tables) != 1:
        raise UserError(f"--split all is for data of one split; task {task.name} has {', '.join(tables)}.")
    (table,) = tables.values()
    classes = table.class_names()
    labels = table.labels(classes)
    if labels is None:
        raise UserError(f"task {task.name}: its images have no labels (all are -1).")
    split = _split("all", task, table, labels)
    return classes, split, opened.account + _alike(classes)


def _split(name: str, task: Task, table: Table, labels: np.ndarray) -> Split:
    """All of a table."""
    images, rows = table.images(), np.arange(len(table))
    return Split(name, images, rows, labels, table.fingerprint(), PLAIN.changed_by(task))


def draw_shots(data: Data, shots: int, seed: int) -> Data:
    """`shots` training images of each class, drawn by the seed, and at most four of each class to validate on.

    Who has so few images has few to choose settings by, too. The test split stays whole.

    Raises:
        UserError: when a class has fewer images, or there is no test split: so few to validate on measure nothing.
    """
    labels, counts = np.unique(data.train.labels, return_counts=True)
    if counts.min() < shots:
        rarest = data.classes[labels[counts.argmin()]]
        raise UserError(
            f"--shots {shots}: there are {counts.min()} training images of {rarest}. Use {counts.min()} or less."
        )
    if data.test is None:
        raise UserError(
            "--shots: the task has no test split to be scored on. Hold one out: --set task.test_fraction=0.3"
        )
    train = data.train.keep(_draw(data.train.labels, shots, seed))
    validation = data.validation.keep(_draw(data.validation.labels, min(shots, VALIDATION_SHOTS), seed))
    return replace(data, train=train, validation=validation)


def _draw(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices of `count` images of each class, or all where it has fewer, ascending."""
    rng = np.random.default_rng((seed, SHOTS))
    return np.sort(np.concatenate([rng.permutation(members)[:count] for members in _by_class(labels)]))


def _by_class(labels: np.ndarray) -> list[np.ndarray]:
    """Indices of each class's images, ascending, in order of the classes: in one go, there may be 100,000."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def public_source(task: Task) -> str:
    """Where the data are from, for readers of a card; where files lie on a machine is no business of theirs."""
    if is_in_memory(task):
        return "data in memory"
    if callable(task.source):
        return "a package of Python's"
    assert isinstance(task.source, str)
    return "local files" if Path(task.source).expanduser().exists() else task.source


def source_hash(task: Task) -> str:
    """Eight hexadecimal digits that tell data of the same name apart, and do not say where they lie."""
    if is_in_memory(task):
        place = content_hash(task)
    elif callable(task.source):
        place = f"{task.source.__module__}.{task.source.__qualname__}"
    else:
        assert isinstance(task.source, str)
        path = Path(task.source).expanduser()
        place = str(path.resolve()) if path.exists() else task.source
    return hashlib.sha256(f"{place} {task.config}".encode()).hexdigest()[:8]


def _split_name(task: Task, kind: str, tables: dict[str, Table]) -> str | None:
    """Which table is the task's train, validation or test split: as it says, else by the usual names."""
    name = getattr(task, kind)
    if name == NONE and kind != "train":
        return None
    if name is not None:
        if name not in tables:
            raise UserError(
                f"task {task.name} has no split {name!r}; {nearest(name, tables)} Set it with --set task.{kind}=..."
            )
        return name
    # A split that the task names as another does not serve again, but train is never given up silently.
    taken = {task.train, task.validation, task.test} if kind != "train" else set()
    usual = [name for name in SPLIT_NAMES[kind] if name in tables and name not in taken]
    if len(usual) > 1:
        raise UserError(
            f"task {task.name} has {' and '.join(usual)}, of which one can be the {kind} split: name it with "
            f"--set task.{kind}={usual[0]}"
        )
    return usual[0] if usual else None


def _unused_splits(
    task: Task, names: dict[str, str | None], tables: dict[str, Table], splits: dict[str, "Split"]
) -> Account:
    """Splits of the data that serve as none of the task's."""
    kinds = {name: kind for kind, name in names.items() if name is not None}
    unused = []
    for name, table in tables.items():
        if kinds.get(name) in splits:
            continue
        without = [kind for kind in SPLIT_NAMES if getattr(task, kind) == NONE and name in SPLIT_NAMES[kind]]
        reason = "no labels" if name in kinds else f"task.{without[0]}=none" if without else "not asked for"
        unused.append(Unused("split", f"{shorten(name, 60)}, {len(table):,} images: {reason}", 1))
    return Account(tuple(unused))


def _alike(classes: Sequence[str]) -> Account:
    """A note where names of classes differ in capitals, accents' encoding or what cannot be seen: one may be meant."""
    by_look: dict[str, list[str]] = {}
    for name in classes:
        seen = name if name.isascii() else "".join(
            letter for letter in unicodedata.normalize("NFKC", name) if unicodedata.category(letter) != "Cf"
        )  # fmt: skip
        by_look.setdefault(" ".join(seen.casefold().split()), []).append(name)
    alike = [names for names in by_look.values() if len(names) > 1]
    if not alike:
        return NOTHING_UNUSED
    shown = few_of([" and ".join(name if name.isascii() else ascii(name) for name in names) for names in alike])
    count = f"{len(alike):,} name{'' if len(alike) == 1 else 's'} of classes in several spellings"
    return Account(notes=(f"{count}, each taken for a class of its own: {shown}",))


def check_classes(task: Task, classes: list[str], splits: dict[str, Split]) -> None:
    """See that train has at least two classes, and every class of the other splits.

    Raises:
        UserError: naming what is missing.
    """
    trained = set(splits["train"].labels.tolist())
    if len(trained) < 2:
        only = f"one class ({classes[trained.pop()]})" if trained else "no images"
        raise UserError(
            f"task {task.name}: expected images of at least two classes to train on, found {only}. "
            "Put each class in a folder of its own, or name the label column with --set task.label=..."
        )
    for split in splits.values():
        unknown = sorted(set(split.labels.tolist()) - trained)
        if unknown:
            listed = ", ".join(classes[label] for label in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
            raise UserError(
                f"task {task.name}: the {split.name} split has classes that train lacks ({listed}). "
                "Add training images of them or remove them."
            )


def _hold_out(task: Task, classes: list[str], splits: dict[str, Split]) -> Data:
    train, test = splits["train"], splits.get("test")
    if task.train_images is not None and task.train_images < len(train):
        # What is kept is stratified, not what is left out, so that no class is left without an image.
        train = train.keep(stratified(train.labels, 1 - task.train_images / len(train))[0])
    validation_share = task.validation_fraction
    if test is None and task.test_fraction > 0:
        train, test = _part(task, train, "test", task.test_fraction)
        validation_share = validation_share / (1 - task.test_fraction)
    validation = splits.get("validation")
    if validation is None:
        train, validation = _part(task, train, "validation", validation_share)
    return Data(classes, train, validation, test)


def _part(task: Task, train: Split, name: str, fraction: float) -> tuple[Split, Split]:
    kept, held = stratified(train.labels, fraction)
    if not len(held):
        raise UserError(
            f"task {task.name}: no class has an image to spare for the {name} split. "
            f"Add images, or name a split with --set task.{name}=..."
        )
    return train.keep(kept), train.keep(held, name)


def stratified(labels: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices to keep and to hold out, each sorted: of every class `fraction`, at least 1 of 2, never all."""
    rng = np.random.default_rng(0)
    parts = []
    for indices in _by_class(labels):
        members = rng.permutation(indices)
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        parts.append(members[:count])
    held_out = np.sort(np.concatenate(parts))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out
