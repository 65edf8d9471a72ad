"""A column of a table that says which split each row belongs to."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nfft.config.task import AUTO, NONE, Task
from nfft.data.sources.account import NOTHING_UNUSED, Account, counted
from nfft.data.sources.split_words import SPLIT_NAMES, WORDS, letters_of, says_splits, split_of, text_of
from nfft.errors import UserError, nearest
from nfft.text import shorten

# Names of such columns, by their letters alone: "Data set" is dataset.
NAMES = frozenset({
    "split", "splits", "set", "sets", "subset", "subsets", "dataset", "datasplit", "datasubset", "datasetsplit",
    "splitname", "splittype", "splitset", "partition", "evaluationpartition", "usage", "fold", "folds", "phase",
    "traintest", "trainvaltest", "traintestsplit", "trainvaltestsplit", "evalstatus", "evaluationstatus",
})  # fmt: skip
# Words of rows that are in no split.
UNUSED = frozenset({"", "none", "na", "nan", "null", "unused", "notused", "ignore", "ignored", "exclude", "excluded",
                    "skip", "skipped", "discard"})  # fmt: skip
# Columns that say yes or no of one split, by their prefix, or by no more than its name.
FLAG = re.compile(r"(?:is|in|used?for)(.+?)(?:image|set|split|row|sample)?")
BARE = frozenset({"train", "training", "val", "validation", "test", "testing", "holdout"})
YES, NO = frozenset({"1", "1.0", "true", "t", "yes", "y"}), frozenset({"0", "0.0", "false", "f", "no", "n", ""})
SHOWN = 5


@dataclass(frozen=True)
class Divided:
    """Rows by split; None where no column says it.

    Attributes:
        rows: of each split, ascending.
        columns: that say it.
    """

    rows: dict[str, np.ndarray] | None
    columns: tuple[str, ...] = ()
    account: Account = NOTHING_UNUSED


def divide(task: Task, columns: dict[str, Sequence[object]], taken: set[str]) -> Divided:
    """The rows of each split, by the column that the task names, or one that is named so or holds such words.

    Args:
        columns: those that may say the split, by their names (`candidates`) or values (`says_splits`).
        taken: columns of images and labels.

    Raises:
        UserError: when some of a column's values are words for splits and others nobody knows.
    """
    if task.split == NONE:
        return Divided(None)
    texts = {name: [text_of(value) for value in values] for name, values in columns.items() if name not in taken}
    if task.split != AUTO:
        values = [text_of(value) for value in columns[task.split]]
        kind = _flag(task.split)
        if kind and _all_flags(values):
            return _by_flags({task.split: values}, task)
        return _by_words(task, task.split, values)
    notes: list[str] = []
    for name, values in texts.items():
        if letters_of(name) not in NAMES and not says_splits(set(values)):
            continue
        kinds = Counter(values)
        if any(map(split_of, kinds)):
            divided = _by_words(task, name, values)
            return Divided(divided.rows, divided.columns, Account(notes=tuple(notes)) + divided.account)
        shown = ", ".join(shorten(value or "nothing", 20) for value in sorted(kinds)[:SHOWN])
        notes.append(
            f"column {shorten(name, 60)} says no split: it holds {shown}{', ...' if len(kinds) > SHOWN else ''}. "
            f"If it does, name what is what: --set task.split={shorten(name, 60)} --set task.test=..."
        )
    flags = {name: values for name, values in texts.items() if _flag(name) and _all_flags(values)}
    for name in [name for name, values in flags.items() if _flag(name) == "validation" and _is_mostly_yes(values)]:
        del flags[name]
        notes.append(
            f"column {shorten(name, 60)} says yes of most rows, and is not taken for a validation split; "
            f"--set task.split={shorten(name, 60)} takes it."
        )
    if flags:
        divided = _by_flags(flags, task)
        return Divided(divided.rows, divided.columns, Account(notes=tuple(notes)) + divided.account)
    return Divided(None, account=Account(notes=tuple(notes)))


def candidates(task: Task, names: Sequence[str]) -> list[str]:
    """Columns that may say the split, by their names.

    Raises:
        UserError: when the one that the task names is not there.
    """
    if task.split == NONE:
        return []
    if task.split != AUTO:
        if task.split not in names:
            raise UserError(
                f"task {task.name}: no column {task.split!r}; {nearest(task.split, names)} Name another with "
                "--set task.split=..., or none with task.split=none."
            )
        return [task.split]
    return [name for name in names if is_split_name(name)]


def is_split_name(name: str) -> bool:
    """Whether a column of this name may say the split."""
    return letters_of(name) in NAMES or _flag(name) is not None


def by_folders(task: Task, column: str, paths: Sequence[object]) -> Divided:
    """The rows of each split, where a folder in all of their paths is called by it: train/ant/1.jpg, test/ant/2.jpg."""
    if task.split != AUTO:
        return Divided(None)
    folders = [re.split(r"[\\/]", text_of(path))[:-1] for path in paths]
    for depth in range(min(map(len, folders), default=0)):
        names = [parts[depth] for parts in folders]
        if says_splits(set(names)):
            divided = _by_words(task, column, names)
            rest = "by the folders in its paths; --set task.split=none takes all rows alike"
            notes = tuple(f"{note.rstrip('.')}, {rest}." for note in divided.account.notes)
            return Divided(divided.rows, (column,), Account(divided.account.unused, notes))
    return Divided(None)


def _by_words(task: Task, column: str, values: list[str]) -> Divided:
    named = {name for name in (task.train, task.validation, task.test) if name is not None}
    known = {value: value if value in named else split_of(value) for value in set(values)}
    # Once someone has said which values are what, the others are nobody's.
    is_said = bool(named & known.keys())
    left_out = {value for value, split in known.items() if split is None and (is_said or letters_of(value) in UNUSED)}
    unused = [f"column {shorten(column, 60)}: {shorten(value, 40) or 'empty'}" for value in values if value in left_out]
    splits = ["" if value in left_out else known[value] for value in values]
    if unknown := Counter(value for value, split in zip(values, splits, strict=True) if split is None):
        shown = ", ".join(f"{shorten(value, 40)!r} ({count:,} rows)" for value, count in unknown.most_common(SHOWN))
        raise UserError(
            f"task {task.name}: column {column!r} holds {shown}, none of train, validation and test. Mend the "
            "cells, name another column with --set task.split=..., or take no column for it: --set task.split=none."
        )
    return _divided([split or "" for split in splits], (column,), counted("row", unused))


def _by_flags(flags: dict[str, list[str]], task: Task) -> Divided:
    """By columns such as is_train and is_test; what none of them says yes to is what they leave open."""
    kinds = {name: _flag(name) or "" for name in flags}
    if len(set(kinds.values())) < len(kinds):
        listed = ", ".join(kinds)
        raise UserError(f"task {task.name}: the columns {listed} say the same split. Name one: --set task.split=...")
    given = set(kinds.values())
    # A train column alone leaves the test images; one of test or validation alone leaves the training images.
    order = ("train", "test", "validation")
    rest = next((split for split in order if split not in given), "")
    splits = []
    for row, values in enumerate(zip(*flags.values(), strict=True)):
        said = [kind for kind, value in zip(kinds.values(), values, strict=True) if value.lower() in YES]
        if len(said) > 1:
            raise UserError(
                f"task {task.name}: row {row} is of {' and '.join(said)} at once, by the columns {', '.join(kinds)}. "
                "Mend it, or take no column for it: --set task.split=none."
            )
        splits.append(said[0] if said else rest)
    none = counted("row", [f"in no split by {', '.join(kinds)}"] * splits.count(""))
    return _divided(splits, tuple(flags), none)


def _divided(splits: list[str], columns: tuple[str, ...], unused: tuple) -> Divided:
    array = np.array(splits, object)
    order = [*SPLIT_NAMES, *sorted(set(splits) - set(SPLIT_NAMES) - {""})]
    rows = {split: found for split in order if len(found := np.flatnonzero(array == split))}
    shown = ", ".join(f"{split} {len(found):,}" for split, found in rows.items())
    which = f"column{'' if len(columns) == 1 else 's'} {', '.join(shorten(name, 60) for name in columns)}"
    return Divided(rows, columns, Account(unused, (f"{which}: {shown} rows.",)))


def _flag(name: str) -> str | None:
    """The split that a column says yes or no of, by its name."""
    letters = letters_of(name)
    found = FLAG.fullmatch(letters)
    return WORDS.get(letters if letters in BARE else found[1] if found else "")


def _all_flags(values: list[str]) -> bool:
    kinds = {value.lower() for value in values}
    return kinds <= YES | NO and kinds != {""}


def _is_mostly_yes(values: list[str]) -> bool:
    """As where is_valid says that a row is not broken."""
    return 2 * sum(value.lower() in YES for value in values) > len(values)
