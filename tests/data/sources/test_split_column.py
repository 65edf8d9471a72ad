"""A column that says the split is heeded, and said."""

from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from pictures import noise

from nfft.config.overrides import read_task
from nfft.config.task import Task
from nfft.data.sources.base import Opened
from nfft.data.sources.open import open_source
from nfft.data.splits import load_data
from nfft.errors import UserError


def write(folder: Path, head: str, *columns: list) -> Path:
    rows = [
        f"{row}.png,{'ab'[row % 2]},{','.join(map(str, cells))}" for row, cells in enumerate(zip(*columns, strict=True))
    ]
    for row in range(len(rows)):
        noise(seed=row).save(folder / f"{row}.png")
    (folder / "t.csv").write_text("\n".join([f"file,label,{head}", *rows]) + "\n")
    return folder / "t.csv"


def sizes(opened: Opened) -> dict[str, int]:
    return {name: len(table) for name, table in opened.tables.items()}


WORDS = ["train", "training", "TRAIN", "tr", "dev", "testing"]
DIVIDED = {"train": 4, "validation": 1, "test": 1}


@pytest.mark.parametrize("head", ["split", "Data set", "subset", "set", "data_split", "fold", "partition", "Usage"])
def test_by_words(tmp_path: Path, head: str) -> None:
    opened = open_source(Task("photos", str(write(tmp_path, head, WORDS))))
    assert sizes(opened) == DIVIDED
    assert opened.account.lines == [f"column {head}: train 4, validation 1, test 1 rows."]
    images = opened.tables["test"].images()
    assert list(images) == [str(tmp_path / "5.png")]
    assert opened.tables["test"].labels(["a", "b"]).tolist() == [1]


@pytest.mark.parametrize(
    ("head", "columns", "expected"),
    [
        ("is_train", [[1, 1, 1, 1, 0, 0]], {"train": 4, "test": 2}),
        ("is_test", [["False"] * 4 + ["True"] * 2], {"train": 4, "test": 2}),
        ("is_valid", [["no"] * 4 + ["yes"] * 2], {"train": 4, "validation": 2}),
        ("is_train,is_test", [[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]], {"train": 3, "validation": 1, "test": 2}),
    ],
)
def test_by_yes_and_no(tmp_path: Path, head: str, columns: list, expected: dict) -> None:
    opened = open_source(Task("photos", str(write(tmp_path, head, *columns))))
    assert sizes(opened) == expected
    assert head.split(",")[0] in opened.account.lines[0]


@pytest.mark.parametrize(
    ("head", "cells", "said"),
    [
        ("fold", [0, 1, 2, 0, 1, 2], "column fold says no split: it holds 0, 1, 2"),
        ("is_valid", [1, 1, 1, 1, 1, 0], "column is_valid says yes of most rows"),
        ("split", ["left", "right"] * 3, "column split says no split: it holds left, right"),
    ],
)
def test_what_says_no_split_is_said(tmp_path: Path, head: str, cells: list, said: str) -> None:
    opened = open_source(Task("photos", str(write(tmp_path, head, cells))))
    assert sizes(opened) == {"train": 6}
    assert said in opened.account.lines[0]


def test_unknown_words_are_named_and_empty_ones_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "split", ["train"] * 4 + ["tset", "test"])
    with pytest.raises(UserError, match=r"column 'split' holds 'tset' \(1 rows\), none of train, validation and test"):
        open_source(Task("photos", str(path)))
    opened = open_source(Task("photos", str(write(tmp_path, "split", ["train"] * 4 + ["", "exclude"]))))
    assert sizes(opened) == {"train": 4}
    assert "1 row (column split: empty)" in opened.account.lines[-1]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"split": "none"}, {"train": 6}),
        ({"split": "set"}, DIVIDED),
        ({"split": "fold", "train": "0", "test": "2"}, {"0": 3, "2": 1}),
        ({"label": "set"}, {"train": 6}),
    ],
)
def test_the_task_may_name_the_column(tmp_path: Path, settings: dict, expected: dict) -> None:
    path = write(tmp_path, "set,fold", WORDS, [0, 0, 0, 1, 1, 2])
    task = read_task(str(path), {f"task.{name}": value for name, value in settings.items()})
    assert sizes(open_source(task)) == expected


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, "set", WORDS)
    with pytest.raises(UserError, match=r"no column 'sett'; did you mean 'set'"):
        open_source(Task("photos", str(path), split="sett"))


def test_training_leaves_the_test_rows_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "split", ["train"] * 8 + ["val"] * 2 + ["test"] * 2)
    data = load_data(Task("photos", str(path)))
    assert [len(split) for split in data.splits] == [8, 2, 2]
    assert data.test is not None and data.test.where(0) == str(tmp_path / "10.png")


@pytest.mark.parametrize("hidden", ["-1", ""])
def test_a_test_split_without_labels_is_said(tmp_path: Path, hidden: str) -> None:
    path = write(tmp_path, "split", ["train"] * 8 + ["val"] * 2 + ["test"] * 2)
    lines = path.read_text().replace("10.png,a", f"10.png,{hidden}").replace("11.png,b", f"11.png,{hidden}")
    path.write_text(lines)
    data = load_data(Task("photos", str(path)))
    assert data.test is None and len(data.train) == 8
    assert "1 split (test has no labels: all are -1 or empty)" in " ".join(data.account.lines)


def test_a_data_set_of_a_program_too() -> None:
    features = Features(
        {"image": Value("binary"), "label": Value("string"), "split": ClassLabel(names=["test", "train"])}
    )
    data = Dataset.from_dict({"image": [b"x"] * 3, "label": list("aba"), "split": [1, 1, 0]}, features=features)
    assert sizes(open_source(Task("photos", data))) == {"train": 2, "test": 1}
