"""Tables as people have them: separators, encodings, blanks, paths of other machines, and whatever Parquet holds."""

import base64
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

from nfft.config import registry
from nfft.config.overrides import read_task
from nfft.config.task import Task
from nfft.data.decode import decode
from nfft.data.sources.base import Opened, Table
from nfft.data.sources.open import open_source
from nfft.errors import UserError

ROWS = "0.png{0}red\n1.png{0}blue\n2.png{0}red\n"


def png(row: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((2, 3, 3), row, np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURES = [png(row) for row in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with 0.png, 1.png and 2.png in it."""
    place = tmp_path / "photos"
    place.mkdir()
    for row, content in enumerate(PICTURES):
        (place / f"{row}.png").write_bytes(content)
    return place


def opened(path: Path | str, **settings: object) -> Opened:
    return open_source(Task(name="photos", source=str(path), **settings))  # type: ignore[arg-type]


def labeled(table: Table) -> list[tuple[int, str]]:
    """Which picture each row has, and its class."""
    classes = table.class_names()
    labels = table.labels(classes)
    assert labels is not None
    return [
        (int(np.asarray(decode(image))[0, 0, 0]), classes[label])
        for image, label in zip(table.images(), labels, strict=True)
    ]


EXPECTED = [(0, "red"), (1, "blue"), (2, "red")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "file,label\n" + ROWS.format(","), ""),
        ("t.csv", "file;label\n" + ROWS.format(";"), "semicolons"),
        ("t.csv", "file\tlabel\n" + ROWS.format("\t"), "tabs"),
        ("t.csv", "file|label\n" + ROWS.format("|"), "vertical bars"),
        ("t.tsv", "file,label\n" + ROWS.format(","), "commas"),
        ("t.txt", "file,label\n" + ROWS.format(","), ""),
        ("t.csv", "file;weight;label\n0.png;1,5;red\n1.png;2,5;blue\n2.png;3,5;red\n", "semicolons"),
        ("t.csv", "sep=;\r\nfile;label\r\n0.png;red\r\n1.png;blue\r\n2.png;red\r\n", ""),
        (
            "t.csv",
            "file , label\n0.png, red\n1.png ,blue\n2.png,red \n",
            "blanks around 3 cells are left out",
        ),
        ("t.csv", "file,label\n0.png,red,\n1.png,blue,\n2.png,red,\n", ""),
        ("t.csv", "file,label,\n0.png,red,\n1.png,blue,\n2.png,red,\n", ""),
        ("t.csv", ",file,label\n0,0.png,red\n1,1.png,blue\n2,2.png,red\n", ""),
        ("t.csv", 'file,note,label\n0.png,"a\nb",red\n\n1.png,"x, y",blue\n   \n2.png,,red', ""),
        ("t.csv", "File Name,Class\n" + ROWS.format(","), ""),
        ("t.csv", "file,label\r0.png,red\r1.png,blue\r2.png,red\r", ""),
        ("t.jsonl", "".join(json.dumps({"file": f"{row}.png", "label": label}) + "\n" for row, label in EXPECTED), ""),
        ("t.json", json.dumps([{"file": f"{row}.png", "label": label} for row, label in EXPECTED]), ""),
    ],
)
def test_text_in_many_ways(folder: Path, name: str, content: str, said: str) -> None:
    (folder / name).write_bytes(content.encode())
    source = opened(folder / name)
    assert labeled(source.tables["train"]) == EXPECTED
    assert said in " ".join(source.account.lines)
    assert bool(said) == bool(source.account.lines)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", ""), ("utf-8-sig", ""), ("utf-16", ""), ("utf-16-le", ""), ("cp1252", r"not UTF-8 \(line 2\)")],
)
def test_text_in_many_encodings(folder: Path, encoding: str, said: str) -> None:
    (folder / "t.csv").write_bytes("file,label\n0.png,rød\n1.png,blå\n".encode(encoding))
    source = opened(folder / "t.csv")
    assert labeled(source.tables["train"]) == [(0, "rød"), (1, "blå")]
    assert bool(said) == bool(source.account.lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\n0.png,red\n1.png,bl\0ue\n", r"line 3 holds a NUL"),
        ("file,label\n0.png,red\n1.png,blue,dark\n", r"line 3: 3 cells, where the first line names 2 columns"),
        ('file,label\n0.png,"a\nb"\n1.png,blue,dark\n', r"line 4: 3 cells"),
        ("file,label,label\n0.png,red,a\n", r"line 1: two columns are called 'label'"),
        ("file,label\n", "has no rows"),
        ("", "is empty"),
        ("file,label\n0.png,red\n1.png\n", r"row 1 has no label .*line 3 of t\.csv"),
        ("file,label\n0.png,red\n1.png,\n", r"row 1 has no label .*line 3 of t\.csv"),
        ("file,label\nhttps://a.b/0.png,red\n", "addresses"),
        ('file,label\n0.png,"red\n' + "1.png,blue\n" * 110_000, r"line \d+: a cell has more than"),
    ],
)
def test_text_that_is_no_table(folder: Path, content: str, message: str) -> None:
    (folder / "t.csv").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        opened(folder / "t.csv").tables["train"].class_names()
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "content",
    ['{"file": "0.png", "label": "\\ud800"}', '{"\\ud800": 1}', '{"file": "a\\u0000b"}', '{"a": {"path": "\\ud800"}}'],
)
def test_json_of_half_characters(folder: Path, content: str) -> None:
    (folder / "t.jsonl").write_text('{"file": "0.png", "label": "red"}\n' + content)
    with pytest.raises(UserError, match="line 2 holds a character that no text does"):
        opened(folder / "t.jsonl")


def test_pictures_as_text_are_a_short_sentence(folder: Path) -> None:
    text = base64.b64encode(bytes(60_000)).decode()
    (folder / "t.csv").write_text("image,label\n" + f"{text},a\n" * 20)
    with pytest.raises(UserError, match="base64") as error:
        opened(folder / "t.csv")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("name", ["t[1].csv", "a::b.csv", "$HOME.csv", "~.csv", "a [v2]/t.csv", "LABELS.CSV", "*.csv"])
def test_names_of_files_are_names(folder: Path, name: str) -> None:
    (folder / "t1.csv").write_text("file,label\n0.png,other\n")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    for image in folder.glob("*.png"):
        if path.parent != folder:
            shutil.copy(image, path.parent)
    path.write_text("file,label\n" + ROWS.format(","))
    task = registry.task(str(path))
    assert labeled(open_source(task).tables["train"]) == EXPECTED


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("img\\a{0}.png", r"with \ as /"),
        ("C:\\Users\\me\\img\\a{0}.png", "without the first 3 parts"),
        ("/kaggle/input/img/a{0}.png", "without the first 3 parts"),
        ("img/a{0}", "with the ending .png"),
        ("a{0}", "img, with the ending .png"),
        ("a{0}.png", "img."),
    ],
)
def test_paths_of_other_machines_and_names_without_endings(tmp_path: Path, cell: str, said: str) -> None:
    (tmp_path / "img").mkdir()
    for row, content in enumerate(PICTURES):
        (tmp_path / "img" / f"a{row}.png").write_bytes(content)
    lines = [f"{cell.format(row)},{label}" for row, label in EXPECTED]
    (tmp_path / "train.csv").write_text("\n".join(["id,label", *lines]))
    source = opened(tmp_path / "train.csv")
    assert labeled(source.tables["train"]) == EXPECTED
    assert said in source.account.lines[0]
    assert len(source.account.lines) == 1


def test_images_in_a_folder_of_their_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id,label\n0,red\n1,blue\n2,red\n")
    shutil.copytree(folder, tmp_path / "copies")
    with pytest.raises(UserError, match=r"are in .*copies and .*photos\. Say which: --set task\.images"):
        opened(tmp_path / "train.csv")
    task = read_task(str(tmp_path / "train.csv"), {"task.images": str(folder), "task.ending": "png"})
    source = open_source(task)
    assert labeled(source.tables["train"]) == EXPECTED
    assert not source.account.lines
    with pytest.raises(UserError, match=r"task\.images=.*no such folder"):
        opened(tmp_path / "train.csv", images=str(tmp_path / "none"))


def test_two_images_do_not_become_one(folder: Path) -> None:
    (folder / "t.csv").write_text("file,label\nants/0.png,ant\nbees/0.png,bee\n")
    images = opened(folder / "t.csv").tables["train"].images()
    assert list(images) == [str(folder / "ants/0.png"), str(folder / "bees/0.png")]


def test_a_link_has_its_pictures_beside_it_or_else_beside_the_file(folder: Path, tmp_path: Path) -> None:
    (folder / "t.csv").write_text("file,label\n" + ROWS.format(","))
    links = tmp_path / "links"
    links.mkdir()
    (links / "t.csv").symlink_to(folder / "t.csv")
    assert labeled(opened(links / "t.csv").tables["train"]) == EXPECTED
    for row in range(3):
        (links / f"{row}.png").write_bytes(png(row + 10))
    assert labeled(opened(links / "t.csv").tables["train"]) == [(10, "red"), (11, "blue"), (12, "red")]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_replaced_with_its_time_kept_is_read_anew(folder: Path, name: str) -> None:
    path = folder / name
    for labels in (["aa", "bb", "aa"], ["cc", "dd", "cc"]):
        if path.suffix == ".csv":
            path.write_text("".join(f"{a},{b}\n" for a, b in [("file", "label"), *zip("012", labels, strict=True)]))
        else:
            pq.write_table(pa.table({"image": PICTURES, "label": labels}), path)
        os.utime(path, (1e9, 1e9))
        assert opened(path).tables["train"].class_names() == sorted(set(labels))


LABELS = ["red", "blue", "red"]


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ([{"data": content, "name": "x"} for content in PICTURES], LABELS),
        ([{"bytes": None, "path": f"{row}.png"} for row in range(3)], LABELS),
        (pa.array(PICTURES, pa.binary_view()), pa.array(LABELS, pa.string_view())),
        (pa.array(PICTURES, pa.large_binary()), pa.array(LABELS, pa.large_string())),
        (PICTURES, pa.array(LABELS).dictionary_encode()),
        (PICTURES, [label.encode() for label in LABELS]),
        (["0.png", "1.png", "2.png"], LABELS),
    ],
    ids=["data", "path", "views", "large", "dictionary", "binary labels", "paths"],
)
@pytest.mark.parametrize("name", ["t.PARQUET", "t.pq", "t.arrow"])
def test_columns_of_many_types(folder: Path, image: object, label: object, name: str) -> None:
    table = pa.table({"image": image, "label": label})
    if name.endswith("arrow"):
        pyarrow.feather.write_feather(table, folder / name, compression="uncompressed")
    else:
        pq.write_table(table, folder / name)
    source = open_source(registry.task(str(folder / name)))
    assert labeled(source.tables["train"]) == EXPECTED


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: pq.write_table(pa.table({"image": pa.array([], pa.binary()), "label": []}), path), "has no rows"),
        (lambda path: path.write_bytes(b"PAR1 and nothing more"), "could not be read"),
        (lambda path: pq.write_table(pa.table({"image": [{"h": 1}], "label": ["a"]}), path), "no images found"),
    ],
)
def test_parquet_that_is_no_table(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=message):
        opened(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t.xlsx", "does not read .xlsx files as data; save the sheet as CSV"),
        ("t.csv.gz", r"gunzip -k t\.csv\.gz"),
        ("my photos.tar.gz", r"mkdir 'my photos' && tar -xf 'my photos\.tar\.gz' -C 'my photos'"),
        ("t.npz", "hand arrays over from Python"),
        ("t.foo", "name a folder of images, or a table"),
    ],
)
def test_files_that_are_not_read_are_refused_by_name(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=message):
        registry.task(str(tmp_path / name))
    with pytest.raises(UserError, match=message):
        opened(tmp_path / name)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    for attempt in (lambda: registry.task(str(tmp_path / "t.csv")), lambda: opened(tmp_path / "t.csv")):
        with pytest.raises(UserError, match="is a pipe, not a file"):
            attempt()
    with pytest.raises(UserError, match="a device"):
        registry.task("/dev/null")


@pytest.mark.parametrize("name", ["parquet", "csv", "json", "arrow", "webdataset", "a [v2]", "x::y", "$HOME", "~"])
def test_a_folder_laid_out_as_on_the_hub_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for where, labels in ((name, LABELS), ("elsewhere", ["stranger", "other", "other"])):
        (tmp_path / where / "data").mkdir(parents=True)
        pq.write_table(
            pa.table({"image": PICTURES, "label": labels}), tmp_path / where / "data" / "train-00000-of-00001.parquet"
        )
    assert labeled(open_source(registry.task(f"./{name}")).tables["train"]) == EXPECTED


def test_what_save_to_disk_leaves_is_read(tmp_path: Path) -> None:
    data = Dataset.from_dict({"image": PICTURES, "label": LABELS})
    data.save_to_disk(tmp_path / "one [2]")
    assert labeled(opened(tmp_path / "one [2]").tables["train"]) == EXPECTED
    DatasetDict({"train": data, "test": data.select([1])}).save_to_disk(tmp_path / "two")
    assert {name: len(table) for name, table in opened(tmp_path / "two").tables.items()} == {"train": 3, "test": 1}


def test_a_catalog_name_that_is_a_folder_here_too_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not open_source(registry.task("digits")).account.lines
    (tmp_path / "digits").mkdir()
    lines = open_source(registry.task("digits")).account.lines
    assert lines == ["digits is the catalog's task; for the one here, write --task ./digits."]
