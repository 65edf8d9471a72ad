"""Images that are in two splits, or under two labels, are said, dropped or refused."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from pictures import noise

from nfft import Task
from nfft.data import duplicates, leaks
from nfft.data.splits import Data, load_data
from nfft.errors import UserError


def lay_out(folder: Path, *, splits: tuple[str, ...] = ("train", "test"), images: int = 6) -> Path:
    for split in splits:
        for name in ("ant", "bee"):
            (folder / split / name).mkdir(parents=True)
            for row in range(images):
                picture = noise(4, sum(map(ord, f"{split}{name}")) * 100 + row)
                picture.save(folder / split / name / f"{row}.bmp")
    return folder


def opened(folder: Path, **settings: object) -> Data:
    return load_data(Task(name="photos", source=str(folder), **settings))


def sizes(data: Data) -> list[int]:
    return [len(split) for split in data.splits]


def test_nothing_is_said_of_images_of_the_same_size(tmp_path: Path) -> None:
    assert opened(lay_out(tmp_path)).account.lines == []


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """Two images of train are in test, too, and one of validation."""
    lay_out(tmp_path, splits=("train", "val", "test"))
    for place, copy in (("train/ant/0", "ant/a"), ("train/bee/1", "bee/b"), ("val/bee/2", "bee/c")):
        shutil.copy(tmp_path / f"{place}.bmp", tmp_path / "test" / f"{copy}.bmp")
    return tmp_path


def test_the_same_image_in_two_splits_is_said(leaking: Path) -> None:
    data = opened(leaking)
    assert sizes(data) == [12, 12, 15]
    assert data.account.notes == ("the same image in two splits: 2 in train and test, 1 in validation and test",)
    assert "in two splits: train/ant/0.bmp = test/ant/a.bmp, " in data.account.lines[1]


def test_it_is_dropped_from_what_is_trained_on(leaking: Path) -> None:
    data = opened(leaking, leaks="drop")
    assert sizes(data) == [10, 11, 15]
    assert [str(entry) for entry in data.account.unused] == [
        "2 files (train: also in test)",
        "1 file (validation: also in test)",
    ]
    names = {data.train[index].removeprefix(f"{leaking}/train/") for index in range(10)}
    assert not names & {"ant/0.bmp", "bee/1.bmp"}


def test_it_is_refused(leaking: Path) -> None:
    with pytest.raises(UserError, match=r"2 in train and test, .*train/ant/0\.bmp = test/ant/a\.bmp"):
        opened(leaking, leaks="refuse")


def test_what_is_held_out_of_train_is_looked_at_too(tmp_path: Path) -> None:
    lay_out(tmp_path, splits=("train",), images=10)
    for row in range(10):
        shutil.copy(tmp_path / f"train/ant/{row}.bmp", tmp_path / f"train/ant/copy{row}.bmp")
    (note,) = opened(tmp_path).account.notes
    assert note == "the same image in two splits: 2 in train and validation"
    dropped = opened(tmp_path, leaks="drop")
    assert sizes(dropped) == [25, 3]


def test_two_labels_of_one_image_are_named(tmp_path: Path) -> None:
    lay_out(tmp_path, splits=("train", "test"))
    shutil.copy(tmp_path / "train/ant/0.bmp", tmp_path / "train/bee/x.bmp")
    (tmp_path / "train/bee/y.bmp").symlink_to(tmp_path / "train/ant/1.bmp")
    account = opened(tmp_path, validation_fraction=1e-6).account
    assert "the same image under two labels: 2" in account.notes
    assert "under two labels: train/ant/0.bmp (ant) = train/bee/x.bmp (bee)" in "\n".join(account.lines)
    with pytest.raises(UserError, match="the same image under two labels: 2"):
        opened(tmp_path, leaks="refuse")


def test_the_same_label_twice_in_one_split_is_no_leak(tmp_path: Path) -> None:
    lay_out(tmp_path, splits=("train", "val"))
    shutil.copy(tmp_path / "train/ant/0.bmp", tmp_path / "train/ant/x.bmp")
    assert opened(tmp_path, leaks="refuse").account.lines == []


def test_files_that_end_alike_are_no_duplicates(tmp_path: Path) -> None:
    lay_out(tmp_path, splits=("train", "test"), images=3)
    end = bytes(2 * duplicates.TAIL)
    for split, start in (("train", b"a"), ("test", b"b")):
        (tmp_path / split / "ant" / "z.bmp").write_bytes(start + end)
    assert opened(tmp_path).account.lines == []


def test_empty_files_are_not_the_same_image(tmp_path: Path) -> None:
    lay_out(tmp_path)
    for split in ("train", "test"):
        (tmp_path / split / "ant" / "empty.bmp").touch()
    assert opened(tmp_path).account.lines == []


def test_a_file_that_changes_is_read_again_though_it_looks_the_same(leaking: Path) -> None:
    assert opened(leaking).account.lines
    for path in (leaking / "test").rglob("[abc].bmp"):
        status = path.stat()
        changed = path.with_suffix(".new")
        changed.write_bytes(bytes(reversed(path.read_bytes())))
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
        changed.replace(path)
    assert opened(leaking).account.lines == []


def test_files_are_read_once(leaking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(leaking).account
    monkeypatch.setattr(duplicates, "map_in_threads", lambda *_: pytest.fail("read again"))
    assert opened(leaking).account == first


def test_what_killed_processes_were_writing_goes(leaking: Path) -> None:
    folder = duplicates.cache_folder("duplicates")
    folder.mkdir(parents=True, exist_ok=True)
    left = folder / f".{'a' * 64}.json.0123abcd"
    left.write_text("{")
    opened(leaking)
    assert not left.exists()


@pytest.mark.parametrize("text", ['{"images": 3, "same": [[0, 99]]}', '["same"]', '{"same": [[1e999]]}', "[" * 100_000])
def test_a_cache_that_is_damaged_is_passed_over(leaking: Path, text: str) -> None:
    first = opened(leaking).account
    for path in duplicates.cache_folder("duplicates").iterdir():
        path.write_text(text)
    assert opened(leaking).account == first


@pytest.mark.parametrize("kind", ["arrays", "bytes", "parquet"])
def test_images_in_memory_and_in_tables(tmp_path: Path, kind: str) -> None:
    pixels = [np.asarray(noise(4, row)) for row in (*range(20), 3)]
    labels = [row % 2 for row in range(20)] + [0]
    images: list = pixels
    if kind != "arrays":
        files = [io.BytesIO() for _ in pixels]
        for row, file in zip((*range(20), 3), files, strict=True):
            noise(4, row).save(file, "PNG")
        images = [file.getvalue() for file in files]
    task = Task(name="photos", source=lambda: {"image": images, "label": labels, "names": ["ant", "bee"]})
    if kind == "parquet":
        Dataset.from_dict({"image": images, "label": labels}).to_parquet(tmp_path / "photos.parquet")
        task = Task(name="photos", source=str(tmp_path / "photos.parquet"))
    account = load_data(task).account
    assert "the same image under two labels: 1" in account.notes
    assert any("row 20 (" in line and "row 3 (" in line for line in account.lines)


def test_more_images_than_are_compared_unasked(leaking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "MOST_COMPARED", 5)
    (line,) = opened(leaking).account.lines
    assert line.startswith("39 images: too many to look for some that are there twice")
    assert sizes(opened(leaking, leaks="drop")) == [10, 11, 15]


def test_a_word_that_is_no_way_to_treat_leaks() -> None:
    with pytest.raises(UserError, match="leaks must be warn or refuse or drop; got 'ignore'"):
        Task(name="photos", source="photos", leaks="ignore")
