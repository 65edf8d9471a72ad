"""Splits are what the data says they are, and what it lacks is held out fairly."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from PIL import Image

from nfft.config.task import Task
from nfft.data.splits import Data, Split, draw_shots, load_data, stratified
from nfft.errors import UserError


def write_images(folder: Path, counts: Mapping[str, int]) -> Path:
    """`counts` images in a folder a class, each of a color of its own."""
    for position, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (4, 4), (position, number, len(folder.name))).save(folder / name / f"{number:03}.png")
    return folder


def write_csv(path: Path, labels: list) -> Path:
    lines = ["image,label", *(f"{row}.png,{label}" for row, label in enumerate(labels))]
    path.write_text("\n".join(lines) + "\n")
    return path


def shipped(labels: list[int], names: list[str], **settings: object) -> Task:
    images = [np.full((2, 2), row, np.uint8) for row in range(len(labels))]
    return Task(name="shipped", source=lambda: {"image": images, "label": labels, "names": names}, **settings)


def counts(split: Split) -> dict[int, int]:
    return dict(sorted(Counter(split.labels.tolist()).items()))


def raws(split: Split) -> set:
    return {split[index] for index in range(len(split))}


def test_class_folders_are_cut_into_train_and_validation(tmp_path: Path) -> None:
    task = Task(name="photos", source=str(write_images(tmp_path / "photos", {"wasp": 20, "ant": 10, "bee": 2})))
    data = load_data(task)
    assert data.classes == ["ant", "bee", "wasp"]
    assert data.test is None
    assert counts(data.validation) == {0: 1, 1: 1, 2: 2}
    assert counts(data.train) == {0: 9, 1: 1, 2: 18}
    assert not raws(data.train) & raws(data.validation)
    for split in data.splits:
        for index in range(len(split)):
            assert Path(split[index]).parent.name == data.classes[split.labels[index]]


@pytest.mark.parametrize("validation", ["validation", "val", "dev"])
def test_split_folders_are_taken_as_they_are(tmp_path: Path, validation: str) -> None:
    for split, count in (("train", 5), (validation, 2), ("test", 3)):
        write_images(tmp_path / split, {"ant": count, "bee": count})
    data = load_data(Task(name="photos", source=str(tmp_path)))
    assert [len(split) for split in data.splits] == [10, 4, 6]
    assert [split.name for split in data.splits] == ["train", "validation", "test"]
    assert data.classes == ["ant", "bee"]


def test_a_test_taken_from_validation_is_not_validation_too(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write_images(tmp_path / split, {"ant": 10, "bee": 10})
    data = load_data(Task(name="photos", source=str(tmp_path), test="validation"))
    assert len(data.test) == 20
    assert {Path(raw).parts[-3] for raw in raws(data.test)} == {"validation"}
    assert {Path(raw).parts[-3] for raw in raws(data.validation)} == {"train"}
    assert counts(data.validation) == {0: 1, 1: 1}


def test_both_are_held_out_when_asked() -> None:
    task = shipped([0] * 100 + [1] * 60, ["a", "b"], validation_fraction=0.15, test_fraction=0.25)
    data = load_data(task)
    assert counts(data.test) == {0: 25, 1: 15}
    assert counts(data.validation) == {0: 15, 1: 9}
    assert counts(data.train) == {0: 60, 1: 36}
    rows = np.concatenate([split.rows for split in data.splits])
    assert sorted(rows) == list(range(160))


def test_the_same_images_are_held_out_every_time() -> None:
    first, second = (load_data(shipped([0, 1, 2] * 20, ["a", "b", "c"], test_fraction=0.2)) for _ in range(2))
    for one, other in zip(first.splits, second.splits, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        assert one.rows.tolist() == sorted(one.rows)


@pytest.mark.parametrize("fraction", [1e-6, 0.1, 0.5, 0.99])
def test_stratified(fraction: float) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 5], [1, 2, 50, 400]))
    kept, held = stratified(labels, fraction)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    left, out = Counter(labels[kept].tolist()), Counter(labels[held].tolist())
    assert (left[0], out[0]) == (1, 0)
    assert (left[1], out[1]) == (1, 1)
    assert set(left) == {0, 1, 2, 5}, "a class was emptied"
    for label, total in ((2, 50), (5, 400)):
        assert abs(out[label] - fraction * total) <= 1


def test_a_test_split_with_hidden_labels_is_no_test(tmp_path: Path) -> None:
    features = Features({"image": Value("binary"), "label": ClassLabel(names=["a", "b"])})
    for split, labels in (("train", [0, 1] * 10), ("test", [-1] * 6)):
        columns = {"image": [f"{split}{row}".encode() for row in range(len(labels))], "label": labels}
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}.parquet")
    assert load_data(Task(name="hidden", source=str(tmp_path))).test is None
    held_out = load_data(Task(name="hidden", source=str(tmp_path), test_fraction=0.1))
    assert counts(held_out.test) == {0: 1, 1: 1}
    assert all(raw.startswith(b"train") for raw in raws(held_out.test))


def test_keep_goes_on_indexing_the_same_images() -> None:
    split = load_data(shipped(list(range(5)) * 4, list("abcde"))).train
    part = split.keep(np.array([4, 7]), "some").keep(np.array([False, True]))
    assert part.name == "some"
    assert part[0] is split[7]
    assert part.labels.tolist() == [split.labels[7]]


def test_a_csv_without_splits_is_all_train(tmp_path: Path) -> None:
    data = load_data(Task(name="table", source=str(write_csv(tmp_path / "table.csv", [3, 20] * 10))))
    assert data.classes == ["3", "20"]
    assert (len(data.train), len(data.validation), data.test) == (18, 2, None)


@pytest.mark.parametrize(
    ("labels", "names", "settings", "message"),
    [
        ([0] * 5, ["a", "b"], {}, r"at least two classes to train on, found one class \(a\)"),
        ([0, 1, 2], ["a", "b", "c"], {}, "no class has an image to spare for the validation split"),
        ([0, 1] * 5, ["a", "b"], {"validation": "vali"}, "no split 'vali'.*train"),
        ([0, 1] * 5, ["a", "b"], {"train": "training"}, "did you mean 'train'"),
    ],
)
def test_refuses(labels: list[int], names: list[str], settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_data(shipped(labels, names, **settings))


def test_a_class_that_train_lacks_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"ant": 3, "bee": 3})
    write_images(tmp_path / "test", {"ant": 1, "wasp": 1})
    with pytest.raises(UserError, match=r"classes that train lacks.*wasp"):
        load_data(Task(name="photos", source=str(tmp_path), train="train", test="test"))


def test_no_train_split(tmp_path: Path) -> None:
    write_images(tmp_path / "test", {"ant": 3, "bee": 3})
    with pytest.raises(UserError, match=r"no train split; found test.*task\.train"):
        load_data(Task(name="photos", source=str(tmp_path)))


def test_an_empty_split_is_refused() -> None:
    full = load_data(shipped([0, 1] * 5, ["a", "b"]))
    with pytest.raises(UserError, match="the validation split has no images that can be read"):
        Data(full.classes, full.train, full.validation.keep(np.zeros(len(full.validation), bool)), None)


def test_a_split_serves_once(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_images(tmp_path / split, {"ant": 3, "bee": 3})
    with pytest.raises(UserError, match=r"must be different splits; got train=train, validation=None, test=train"):
        load_data(Task(name="photos", source=str(tmp_path), test="train"))


def test_fewer_training_images_leave_no_class_without() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 2])
    task = Task(
        name="photos",
        source=lambda: {"image": np.zeros((92, 8, 8), np.uint8), "label": labels, "names": ["a", "b", "c"]},
        train_images=12,
        validation_fraction=0.3,
    )
    counts = np.bincount(load_data(task).train.labels) + np.bincount(load_data(task).validation.labels, minlength=3)
    assert counts.tolist() == [8, 4, 1]


def test_shots_are_as_many_of_each_class_by_the_seed(tmp_path: Path) -> None:
    write_images(tmp_path / "photos" / "train", {"ant": 60, "bee": 40, "wasp": 100})
    write_images(tmp_path / "photos" / "test", {"ant": 2, "bee": 3, "wasp": 4})
    data = load_data(Task(name="photos", source=str(tmp_path / "photos")))
    drawn = draw_shots(data, 5, seed=0)
    assert counts(drawn.train) == {0: 5, 1: 5, 2: 5}
    assert counts(drawn.validation) == {0: 4, 1: 4, 2: 4}
    assert raws(drawn.train) < raws(data.train) and raws(drawn.validation) < raws(data.validation)
    assert counts(drawn.test) == counts(data.test)
    assert raws(draw_shots(data, 5, seed=0).train) == raws(drawn.train) != raws(draw_shots(data, 5, seed=1).train)
    one = draw_shots(data, 1, seed=0)
    assert counts(one.train) == counts(one.validation) == {0: 1, 1: 1, 2: 1}
    with pytest.raises(UserError, match=r"there are 36 training images of bee\. Use 36 or less"):
        draw_shots(data, 50, seed=0)


def test_shots_need_a_test_split(tmp_path: Path) -> None:
    data = load_data(Task(name="photos", source=str(write_images(tmp_path / "photos", {"ant": 20, "bee": 20}))))
    with pytest.raises(UserError, match=r"no test split.*--set task\.test_fraction=0\.3"):
        draw_shots(data, 2, seed=0)


@pytest.mark.parametrize("names", [["Ant", "ant", "bee"], ["caf\u00e9", "cafe\u0301"], ["ant", "ant\u200b"]])
def test_classes_of_almost_one_name_are_told(names: list[str]) -> None:
    data = load_data(shipped([row % len(names) for row in range(12)], names))
    (line,) = data.account.lines
    assert line.startswith("1 name of classes in several spellings") and len(data.classes) == len(names)
    assert load_data(shipped([0, 1] * 4, ["ant", "bee"])).account.lines == []
