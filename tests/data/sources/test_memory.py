"""Data that a program has in memory are a task like any other."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from PIL import Image as Pillow

from nfft.config.task import Task
from nfft.data.decode import decode
from nfft.data.scan import scan_split
from nfft.data.sources.memory import task_of
from nfft.data.splits import Data, Split, load_data, public_source, source_hash
from nfft.errors import UserError

PIXELS = np.random.default_rng(0).integers(256, size=(20, 4, 6, 3), dtype=np.uint8)
LABELS = [row % 2 for row in range(20)]
NAMES = ["bee", "ant"]


def pillow() -> list[Pillow.Image]:
    return [Pillow.fromarray(image) for image in PIXELS]


def png(image: Pillow.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def dataset(**columns: Any) -> Dataset:
    features = Features({"image": Image(), "label": ClassLabel(names=NAMES)})
    return Dataset.from_dict({"image": pillow(), "label": LABELS, **columns}, features=features)


def assert_images(split: Split) -> None:
    for index, row in enumerate(split.rows):
        np.testing.assert_array_equal(np.asarray(decode(split[index])), PIXELS[row])


def assert_all_there(data: Data) -> None:
    assert len(data.train) == 18 and len(data.validation) == 2 and data.test is None
    for split in data.splits:
        assert_images(split)
        assert split.labels.tolist() == [LABELS[row] for row in split.rows]


SOURCES: dict[str, Callable[[], Any]] = {
    "array": lambda: (PIXELS, LABELS),
    "list of arrays, labels in an array": lambda: [list(PIXELS), np.array(LABELS, np.uint8)],
    "Pillow": lambda: (pillow(), LABELS),
    "bytes": lambda: ([png(image) for image in pillow()], LABELS),
    "dataset": dataset,
    "dataset with a format": lambda: dataset().with_format("numpy"),
    "dataset of one split": lambda: DatasetDict({"train": dataset()}),
}


@pytest.mark.parametrize("name", SOURCES)
def test_images_and_labels_are_those_that_were_handed_over(name: str) -> None:
    task = task_of(SOURCES[name](), "mine")
    data = load_data(task)
    assert task.name == "mine"
    assert data.classes == (NAMES if "dataset" in name else ["0", "1"])
    assert_all_there(data)
    assert public_source(task) == "data in memory"
    assert scan_split(data.train).sizes.tolist() == [[6, 4]] * 18
    assert source_hash(task) == source_hash(task_of(SOURCES[name](), "mine"))


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{row}.png" for row in range(20)]
    for path, image in zip(paths, pillow(), strict=True):
        image.save(path)
    monkeypatch.chdir(tmp_path)
    names = [path.name for path in paths]
    for images in (paths, [str(path) for path in paths], names, np.array(names)):
        data = load_data(task_of((images, LABELS)))
        assert_all_there(data)
        assert data.train.where(0).endswith(".png")
    assert_all_there(load_data(task_of(Dataset.from_dict({"path": names, "species": LABELS}))))


def test_images_of_pillow_are_read_once_and_their_files_let_go(tmp_path: Path) -> None:
    paths = [tmp_path / f"{row}.png" for row in range(20)]
    for path, image in zip(paths, pillow(), strict=True):
        image.save(path)
    opened = [Pillow.open(path) for path in paths]
    task = task_of((opened, LABELS))
    for image in opened:
        image.close()
    assert_all_there(load_data(task))


def test_gray_images() -> None:
    data = load_data(task_of((PIXELS[..., 0], LABELS)))
    for index, row in enumerate(data.train.rows):
        np.testing.assert_array_equal(np.asarray(decode(data.train[index]))[..., 2], PIXELS[row, ..., 0])


@pytest.mark.parametrize(
    ("labels", "classes", "places"),
    [
        ([7, 30, 4, 7], ["4", "7", "30"], [1, 2, 0, 1]),
        (np.array(["wasp", "ant", "wasp", "bee"]), ["ant", "bee", "wasp"], [2, 0, 2, 1]),
        (np.array(["007", "7", "010", "7"], object), ["007", "7", "010"], [0, 1, 2, 1]),
    ],
)
def test_classes_are_in_order(labels: Any, classes: list[str], places: list[int]) -> None:
    table = task_of((PIXELS[:4], labels)).source
    assert table.class_names() == classes
    assert table.labels(classes).tolist() == places


def test_splits_of_a_dataset_dict_are_its_own() -> None:
    parts = dataset().train_test_split(0.25, seed=0)
    task = task_of(DatasetDict({"train": parts["train"], "val": parts["test"], "test": parts["test"]}))
    data = load_data(task)
    assert (len(data.train), len(data.validation), len(data.test)) == (15, 5, 5)
    for split, part in ((data.train, parts["train"]), (data.test, parts["test"])):
        assert split.labels.tolist() == part["label"][:]
        for index, image in enumerate(part["image"]):
            np.testing.assert_array_equal(np.asarray(decode(split[index])), np.asarray(image))


def test_other_pixels_are_other_data() -> None:
    others = 255 - PIXELS
    hashes = {source_hash(task_of(data)) for data in ((PIXELS, LABELS), (others, LABELS), (PIXELS, LABELS[::-1]))}
    assert len(hashes) == 3
    changed = dataset(image=[Pillow.fromarray(image) for image in others])
    assert source_hash(task_of(changed)) != source_hash(task_of(dataset()))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (PIXELS, "expected a datasets.Dataset, a DatasetDict, or a pair (images, labels); got ndarray."),
        ({"image": PIXELS}, "expected a datasets.Dataset, a DatasetDict, or a pair (images, labels); got dict."),
        ((PIXELS,), "or a pair (images, labels); got tuple."),
        ((PIXELS, LABELS[:-1]), "expected one label an image, 20 in all; got labels of shape (19,)."),
        ((PIXELS, np.eye(20)), "expected one label an image, 20 in all; got labels of shape (20, 20)."),
        ((PIXELS[:2], [[1], [1, 2]]), "expected one label an image; got lists of several lengths."),
        (([], []), "there are no images."),
        ((PIXELS[:0], []), "there are no images."),
        ((PIXELS / 255, LABELS), "its images are float64 of shape (4, 6, 3)."),
        ((PIXELS.transpose(0, 3, 1, 2), LABELS), "its images are uint8 of shape (3, 4, 6)."),
        ((PIXELS.reshape(20, -1), LABELS), "its images are uint8 of shape (72,)."),
        (([*PIXELS[:19], None], LABELS), "image 19 is NoneType."),
        (([*PIXELS[:19], PIXELS[0] / 255], LABELS), "image 19 is float64 of shape (4, 6, 3)."),
        ((iter(PIXELS), LABELS), "expected a sequence of images; got "),
        (("photos/", LABELS), "expected a sequence of images; got str."),
        ((PIXELS[:2], [0.5, 1.0]), "expected labels that are whole numbers or text; got float64, such as 0.5."),
        ((PIXELS[:2], ["ant", None]), "expected labels that are whole numbers or text; got object, such as 'ant'."),
        ((PIXELS[:2], [True, False]), "expected labels that are whole numbers or text; got bool, such as True."),
    ],
)
def test_what_is_no_data_is_refused(data: Any, said: str) -> None:
    with pytest.raises(UserError, match=f"^task data: .*{re.escape(said)}"):
        task_of(data)


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(png(pillow()[0])[:60])
    with (
        Pillow.open(tmp_path / "cut.png") as cut,
        pytest.raises(UserError, match="task data: image 1 cannot be read: "),
    ):
        task_of(([pillow()[0], cut], [0, 1]))


def test_a_source_of_no_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"task mine: its source must be a path, .* or data in memory; got list\.$"):
        load_data(Task(name="mine", source=[1, 2]))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (DatasetDict(), "task data has no train split"),
        (Dataset.from_dict({"image": [], "label": []}), "no images"),
        (Dataset.from_dict({"text": ["a"], "label": [0]}), "no images found"),
        (DatasetDict({"one": dataset(), "two": dataset()}), "has no train split; found one, two"),
        ((PIXELS, [0] * 20), r"expected images of at least two classes to train on, found one class \(0\)"),
    ],
)
def test_what_load_data_refuses(data: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_data(task_of(data))
