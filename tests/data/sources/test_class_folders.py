"""Folders of images are opened as `datasets` opens them: the same images, in the same order, of the same classes."""

from pathlib import Path

import datasets
import pytest
from pictures import noise

from nfft import Task, UserError
from nfft.data.sources.arrays import Arrays
from nfft.data.sources.open import open_source

CLASSES = ["a", "a b", "a-b", "a.b", "B", "Z", "é", "_x", "10", "9", "a[1]", "c#d", "c%20e"]
FILES = ["1.png", "10.png", "2.png", "B.JPG", "a b.png", "z.PNG", ".hidden.png", "#.png", "é.png", "notes.txt"]


@pytest.mark.parametrize("splits", [[""], ["train", "test"], ["Training", "val", "testing"]], ids=",".join)
def test_they_are_what_datasets_makes_of_them(tmp_path: Path, splits: list[str]) -> None:
    for split in splits:
        for name in CLASSES:
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for file in FILES:
                noise(4).save(folder / file, format="PNG")
    (tmp_path / "__pycache__").mkdir()
    tables = open_source(Task(name="photos", source=str(tmp_path))).tables
    assert sorted(tables) == sorted(split.lower() or "train" for split in splits)
    for split in splits:
        table = tables[split.lower() or "train"]
        assert isinstance(table, Arrays)
        peer = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / split), split="train", drop_labels=False)
        peer = peer.cast_column("image", datasets.Image(decode=False))
        assert list(table.images()) == [row["path"] for row in peer["image"]]
        assert table.class_names() == peer.features["label"].names
        assert table.labels(table.class_names()).tolist() == peer["label"][:]


def test_a_double_colon_in_a_name_is_no_chain(tmp_path: Path) -> None:
    for name in ("ant", "bee::wasp"):
        (tmp_path / name).mkdir()
        noise(4).save(tmp_path / name / "a::b.png")
    table = open_source(Task(name="photos", source=str(tmp_path))).tables["train"]
    assert table.class_names() == ["ant", "bee::wasp"]
    assert [Path(path).name for path in table.images()] == ["a::b.png"] * 2


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        noise(4).save(tmp_path / name / "1.png")
    task = Task(name="photos", source=str(tmp_path))
    before = open_source(task).tables["train"].fingerprint()
    assert open_source(task).tables["train"].fingerprint() == before
    noise(8).save(tmp_path / "bee" / "1.png")
    assert open_source(task).tables["train"].fingerprint() != before


# `datasets` leaves the table open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_table_beside_the_images_is_read_by_datasets(tmp_path: Path) -> None:
    train = tmp_path / "train"
    train.mkdir()
    for row in range(4):
        noise(4, row).save(train / f"{row}.png")
    lines = ["file_name,label", *(f"{row}.png,{'ab'[row % 2]}" for row in range(4))]
    (train / "metadata.csv").write_text("\n".join(lines) + "\n")
    table = open_source(Task(name="photos", source=str(tmp_path))).tables["train"]
    assert table.class_names() == ["a", "b"]
    assert table.labels(["a", "b"]).tolist() == [0, 1, 0, 1]


def test_nothing_to_see(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    with pytest.raises(UserError, match="no images found in"):
        open_source(Task(name="photos", source=str(tmp_path)))
