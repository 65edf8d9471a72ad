"""Words for splits, as people call folders, files and the cells of a column."""

import re
from collections.abc import Iterable

# Names that stand for a split by themselves, whatever is called how beside them.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
# Words that do so among others alone: a folder tr beside ant is a class, and beside te it is not.
MORE_WORDS = {
    "train": ("trn", "tr", "learn", "learning", "trainset", "trainingset"),
    "validation": (
        "validate", "validating", "devel", "development", "vld", "va", "valset", "validset", "validationset", "devset",
        "publictest",
    ),
    "test": (
        "tst", "te", "eval", "evaluation", "evaluate", "holdout", "heldout", "testset", "testingset", "privatetest",
    ),
}  # fmt: skip
NAMED = {name: split for split, names in SPLIT_NAMES.items() for name in names}
WORDS = {word: split for words in (SPLIT_NAMES, MORE_WORDS) for split, listed in words.items() for word in listed}
# What may follow such a word, with a number or a year: train_images, val2017.
MORE = re.compile(r"(?:images?|imgs?|pictures?|photos?|data|files|rows|samples|split)?\d*")
# Shorter words may mean anything, where nothing else is said of splits.
SHORTEST = 3


def split_of(word: str) -> str | None:
    """Which split a word stands for, such as "Train", "val_images" and "test2017"; None for any other."""
    letters = letters_of(word)
    if letters in WORDS:
        return WORDS[letters]
    starts = [start for start in WORDS if len(start) >= SHORTEST and letters.startswith(start)]
    return next((WORDS[start] for start in starts if MORE.fullmatch(letters, len(start))), None)


def says_splits(values: Iterable[object]) -> bool:
    """Whether values are words for splits, train and another among them, whatever their column is called."""
    texts = {text_of(value) for value in values} - {""}
    kinds = {split_of(text) if len(text) >= SHORTEST else None for text in texts}
    return None not in kinds and "train" in kinds and len(kinds) > 1


def letters_of(text: str) -> str:
    """The letters and digits of a word, in lower case."""
    return re.sub(r"[\W_]", "", text.lower())


def text_of(value: object) -> str:
    """A cell as text, without blanks around it; "" where it is empty."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return "" if value is None else str(value).strip()
