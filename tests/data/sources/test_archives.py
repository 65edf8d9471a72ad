"""Zip and tar files of class folders, and shards of WebDataset, are read in place."""

import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfft.config import registry
from nfft.config.task import Task
from nfft.data.decode import UnreadableImage, decode
from nfft.data.sources.base import Opened
from nfft.data.sources.open import open_source
from nfft.errors import UserError


def png(row: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3, 3), row, np.uint8)).save(file, "PNG")
    return file.getvalue()


def classes(top: str = "") -> dict[str, bytes]:
    return {f"{top}{name}/{row}.png": png(row + 10 * place) for place, name in enumerate("ab") for row in range(2)}


def pack(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def opened(path: Path, **settings: object) -> Opened:
    task = registry.task(str(path))
    return open_source(Task(task.name, task.source, **settings))  # type: ignore[arg-type]


def pixels(source: Opened, split: str = "train") -> list[tuple[int, str]]:
    table = source.tables[split]
    names = table.class_names()
    return [
        (int(np.asarray(decode(image))[0, 0, 0]), names[label])
        for image, label in zip(table.images(), table.labels(names), strict=True)
    ]


CLASSES = [(0, "a"), (1, "a"), (10, "b"), (11, "b")]


@pytest.mark.parametrize("name", ["photos.zip", "photos.ZIP", "photos.tar", "PHOTOS.TAR"])
@pytest.mark.parametrize("top", ["", "photos/", "x/y/"])
def test_class_folders_in_an_archive(tmp_path: Path, name: str, top: str) -> None:
    droppings = {f"__MACOSX/{top}a/._0.png": b"x", f"{top}.DS_Store": b"x", f"{top}notes.txt": b"x"}
    source = opened(pack(tmp_path / name, {**droppings, **classes(top)}, zipfile.ZIP_DEFLATED))
    assert pixels(source) == CLASSES
    assert "1 file (no image: .txt)" in source.account.lines[-1]
    images = pickle.loads(pickle.dumps(source.tables["train"].images()))
    assert images[3] == png(11)


def test_splits_in_an_archive(tmp_path: Path) -> None:
    source = opened(pack(tmp_path / "photos.zip", {**classes("p/Train/"), **classes("p/val/")}))
    assert pixels(source) == pixels(source, "val") == CLASSES
    assert list(source.tables) == ["train", "val"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({**classes(), "test/0.png": png(5)}, r"photos\.zip/test holds images right in it.*task\.test=none"),
        ({"train_images/0.png": png(1), "test_images/0.png": png(2)}, "nothing says what they are"),
        ({**classes("train/"), **classes("other/")}, "beside other"),
    ],
)
def test_folders_in_an_archive_are_taken_as_folders_are(tmp_path: Path, files: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(pack(tmp_path / "photos.zip", files))


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("ending", ["", ".image", ".jpg_large", ".0"])
def test_pictures_without_an_ending_of_theirs_are_found_by_their_content(
    tmp_path: Path, name: str, method: int, ending: str
) -> None:
    files = {file.replace(".png", ending): content for file, content in classes().items()}
    others = {"a/notes": b"x" * 99, "a/empty": b"", "b/old.bak": png(3), "b/0.xmp": png(4)}
    source = opened(pack(tmp_path / name, {**files, **others}, method))
    assert pixels(source) == CLASSES
    assert "not used: 2 files (no image: no ending), 1 file (no image: .bak)" in source.account.lines[-1]


def test_a_class_in_an_archive_without_images_is_named(tmp_path: Path) -> None:
    source = opened(pack(tmp_path / "photos.zip", {**classes(), "c/0.heic": b"x"}))
    assert pixels(source) == CLASSES
    assert "1 folder (no image that can be used: c)" in source.account.lines[-1]


def test_a_split_of_an_archive_can_be_left_out(tmp_path: Path) -> None:
    files = {**classes(), "test/0.png": png(5)}
    source = opened(pack(tmp_path / "photos.zip", files), test="none")
    assert pixels(source) == CLASSES
    assert source.account.lines == ["not used: 1 folder (test: task.test=none)"]


def test_the_fingerprint_follows_the_archive(tmp_path: Path) -> None:
    prints = []
    for change in (0, 0, 1):
        if not prints or change:
            pack(tmp_path / "photos.zip", {**classes(), "a/0.png": png(change)})
        prints.append(opened(tmp_path / "photos.zip").tables["train"].fingerprint())
    assert prints[0] == prints[1] != prints[2]


def test_names_in_an_archive_are_no_paths(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(99))
    source = opened(pack(tmp_path / "photos.zip", {**classes(), "../secret.png": png(1), "/b/2.png": png(2)}))
    assert pixels(source) == CLASSES
    assert "2 files (a name that leads out of the archive)" in source.account.lines[-1]
    path = tmp_path / "links.tar"
    pack(path, classes())
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("a/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.png")
        tar.addfile(link)
    source = opened(path)
    assert pixels(source) == CLASSES
    assert "1 file (a link in an archive)" in source.account.lines[-1]


def test_a_damaged_picture_in_an_archive_is_unreadable(tmp_path: Path) -> None:
    path = pack(tmp_path / "photos.zip", classes())
    content = path.read_bytes()
    path.write_bytes(content.replace(png(11), png(12), 1))
    images = opened(path).tables["train"].images()
    with pytest.raises(UnreadableImage, match="damaged in the archive"):
        images[3]


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        ("photos.zip", {"labels.csv": b"x"}, r"no images .* `unzip photos\.zip -d photos`"),
        ("photos.zip", {**classes(), "cover.png": png(0)}, r"holds cover\.png"),
        ("photos.tgz", classes(), r"mkdir photos && tar -xf photos\.tgz -C photos"),
        ("photos.tar", {"1.jpg": png(0), "1.txt": b"a cat"}, r"name what holds the label with --set task\.label"),
    ],
)
def test_archives_that_are_not_read_in_place(tmp_path: Path, name: str, files: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(pack(tmp_path / name, files))


def test_an_archive_that_is_none(tmp_path: Path) -> None:
    for name in ("photos.zip", "photos.tar"):
        (tmp_path / name).write_bytes(b"no archive at all")
        with pytest.raises(UserError, match="could not be read"):
            opened(tmp_path / name)
    pack(tmp_path / "photos.zip", {**classes(), "c": b"x"})
    content = (tmp_path / "photos.zip").read_bytes()
    # The last entry of the list at the end, without the length of its name.
    last = content.rindex(b"PK\x01\x02")
    (tmp_path / "photos.zip").write_bytes(content[: last + 28] + b"\0\0" + content[last + 30 :])
    with pytest.raises(UserError, match="could not be read"):
        opened(tmp_path / "photos.zip")
    pack(tmp_path / "photos.tgz", classes()).rename(tmp_path / "photos.tar")
    with pytest.raises(UserError, match="is compressed"):
        opened(tmp_path / "photos.tar")
    pack(tmp_path / "photos.tar", classes())
    content = (tmp_path / "photos.tar").read_bytes()
    (tmp_path / "photos.tar").write_bytes(content[:700])
    with pytest.raises(UserError, match="could not be read"):
        opened(tmp_path / "photos.tar")


def samples(*rows: int, json_labels: bool = False) -> dict[str, bytes]:
    """Samples whose endings change after the fifth."""
    files = {}
    for row in rows:
        files[f"{row:04}.{'jpg' if row < 5 else 'jpeg' if row < 7 else 'PNG'}"] = png(row)
        label = json.dumps({"label": "ab"[row % 2]}).encode() if json_labels else str(row % 2).encode()
        files[f"{row:04}.{'json' if json_labels else 'cls'}"] = label
    return files


def test_shards_in_a_folder(tmp_path: Path) -> None:
    pack(tmp_path / "train-000.tar", samples(0, 1, 2, 3, 4, 5))
    pack(tmp_path / "train-001.tar", {**samples(6, 7), "0008.png": png(8)})
    pack(tmp_path / "val-000.tar", samples(9))
    source = opened(tmp_path)
    assert pixels(source) == [(row, str(row % 2)) for row in range(8)]
    assert [len(table) for table in source.tables.values()] == [8, 1]
    assert source.account.lines == ["not used: 1 sample (a sample without a label)"]


@pytest.mark.parametrize("settings", [{}, {"label": "label"}])
def test_one_shard_with_labels_in_json(tmp_path: Path, settings: dict) -> None:
    source = opened(pack(tmp_path / "shard.tar", samples(0, 1, json_labels=True)), **settings)
    assert pixels(source) == [(0, "a"), (1, "b")]
