"""Folders of pictures with tables beside them."""

import io
from pathlib import Path

import pytest
from datasets import Dataset
from pictures import noise

from nfft.config.task import Task
from nfft.data.sources.base import Opened
from nfft.data.sources.open import open_source
from nfft.errors import UserError


def lay_out(folder: Path, *pictures: str, **tables: str) -> None:
    for row, name in enumerate(pictures):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise(side=4, seed=row).save(folder / name)
    for name, content in tables.items():
        (folder / f"{name.replace('__', '/')}.csv").write_text(content)


def opened(folder: Path, **settings: str) -> Opened:
    return open_source(Task("photos", str(folder), **settings))  # type: ignore[arg-type]


def rows(source: Opened, split: str = "train") -> list[tuple[str, str]]:
    table = source.tables[split]
    names = table.class_names()
    return [
        (Path(str(image)).name, names[label]) for image, label in zip(table.images(), table.labels(names), strict=True)
    ]


FLAT = ("train_2.png", "train_1.png", "test_0.png")
LABELED = "file_name,label\ntrain_2.png,red\ntrain_1.png,blue\ntest_0.png,red\n"
EXPECTED = [("train_2.png", "red"), ("train_1.png", "blue"), ("test_0.png", "red")]


@pytest.mark.parametrize("name", ["metadata", "labels", "annotations", "my table"])
@pytest.mark.parametrize("inside", ["", "images/"])
def test_a_table_beside_flat_pictures(tmp_path: Path, name: str, inside: str) -> None:
    lay_out(tmp_path, *(inside + picture for picture in FLAT), **{name: LABELED})
    source = opened(tmp_path)
    assert rows(source) == EXPECTED
    assert not any("not used" in line for line in source.account.lines)


def test_a_table_and_its_pictures_one_folder_down(tmp_path: Path) -> None:
    lay_out(tmp_path / "photos", *FLAT, labels=LABELED)
    assert rows(opened(tmp_path)) == EXPECTED


def test_a_list_of_classes_beside_the_folder_of_data(tmp_path: Path) -> None:
    picture = io.BytesIO()
    noise(side=4).save(picture, "PNG")
    (tmp_path / "data").mkdir()
    rows = {"image": [{"bytes": picture.getvalue(), "path": None}] * 4, "label": ["ant", "bee"] * 2}
    Dataset.from_dict(rows).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    (tmp_path / "classes.csv").write_text("number,name\n0,ant\n1,bee\n")
    source = opened(tmp_path)
    assert source.tables["train"].class_names() == ["ant", "bee"]
    (line,) = source.account.lines
    assert "not used: 1 file" in line and "classes.csv" in line


def test_what_is_in_no_table_is_counted(tmp_path: Path) -> None:
    lay_out(tmp_path, *FLAT, "other.png", labels=LABELED, notes="a,b\n1,2\n")
    source = opened(tmp_path)
    assert rows(source) == EXPECTED
    (line,) = source.account.lines
    assert line == "not used: 1 file (no table of images: notes.csv), 1 file (in no table: other.png)"


def test_a_table_in_one_class_folder_leaves_the_others(tmp_path: Path) -> None:
    lay_out(tmp_path, "ant/0.png", "bee/1.png", "wasp/2.png", ant__metadata="file_name,label\n0.png,x\n")
    assert rows(opened(tmp_path)) == [("0.png", "ant"), ("1.png", "bee"), ("2.png", "wasp")]


@pytest.mark.parametrize(
    ("table", "expected"),
    [("file_name,label\nb/1.png,red\na/0.png,blue\n", ["blue", "red"]), ("file_name,text\na/0.png,x\n", ["a", "b"])],
)
def test_metadata_above_class_folders_count_where_they_have_labels(
    tmp_path: Path, table: str, expected: list[str]
) -> None:
    lay_out(tmp_path, "a/0.png", "b/1.png", metadata=table)
    assert sorted(rows(opened(tmp_path))) == list(zip(["0.png", "1.png"], expected, strict=True))


def test_folders_of_splits_with_tables(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        lay_out(tmp_path / split, *FLAT, metadata=LABELED)
    source = opened(tmp_path)
    assert sorted(source.tables) == ["test", "train", "val"]
    assert rows(source, "val") == EXPECTED
    assert "test" not in opened(tmp_path, test="none").tables


def test_tables_of_a_competition(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        *("train/a0.jpg", "train/a1.jpg", "test/b0.jpg"),
        train="id,breed\na0,pug\na1,beagle\n",
        test="id\nb0\n",
        sample_submission="id,label\nb0,0\n",
    )
    source = opened(tmp_path)
    assert rows(source) == [("a0.jpg", "pug"), ("a1.jpg", "beagle")]
    said = " ".join(source.account.lines)
    assert "no column of labels: test.csv" in said and "sample_submission.csv" in said and "b0.jpg" in said


def test_tables_of_splits_beside_their_pictures(tmp_path: Path) -> None:
    train, test = "file,label\n0.png,a\n1.png,b\n", "file,label\n2.png,a\n"
    lay_out(tmp_path, "img/0.png", "img/1.png", "img/2.png", train_labels=train, testLabels=test)
    source = opened(tmp_path)
    assert rows(source) == [("0.png", "a"), ("1.png", "b")]
    assert len(source.tables["test"]) == 1


def test_tables_that_compete_are_named(tmp_path: Path) -> None:
    lay_out(tmp_path, *FLAT, first=LABELED, second=LABELED)
    with pytest.raises(UserError, match=r"several tables of images, first\.csv, second\.csv: name one"):
        opened(tmp_path)
    (tmp_path / "first.csv").write_text("a\n1\n")
    (tmp_path / "second.csv").write_text("file_name\ntest_0.png\n")
    with pytest.raises(UserError, match=r"first\.csv: no table of images; second\.csv: no column of labels"):
        opened(tmp_path)


def test_a_competition_with_a_folder_of_images_for_each_split(tmp_path: Path) -> None:
    pictures = [f"train_images/{row}.png" for row in range(4)] + ["test_images/9.png"]
    train = "id,label\n" + "".join(f"{row},{'ab'[row % 2]}\n" for row in range(4))
    lay_out(tmp_path, *pictures, train=train, test="id\n9\n", sample_submission="id,label\n9,a\n")
    source = opened(tmp_path)
    assert rows(source) == [("0.png", "a"), ("1.png", "b"), ("2.png", "a"), ("3.png", "b")]
    assert "in no table: 9.png" in source.account.lines[-1]


def test_one_table_above_the_folders_of_splits(tmp_path: Path) -> None:
    pictures = [f"{split}/{row}.png" for split in ("train", "test") for row in range(2)]
    lay_out(tmp_path, *pictures, metadata="file_name,label\n" + "".join(f"{name},{name[-5]}\n" for name in pictures))
    source = opened(tmp_path)
    assert rows(source) == rows(source, "test") == [("0.png", "0"), ("1.png", "1")]
    assert "by the folders in its paths" in source.account.lines[0]
