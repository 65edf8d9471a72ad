"""Images and labels come out of folders, CSV and Parquet files alike."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value, config
from datasets import Image as ImageFeature
from huggingface_hub import constants
from PIL import Image

from nfft.config.task import Task
from nfft.data.decode import decode
from nfft.data.sources.base import Table
from nfft.data.sources.dataset_table import in_cache
from nfft.data.sources.open import open_source
from nfft.errors import UserError
from nfft.files import locked


def pixels(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(256, size=(3, 5, 3), dtype=np.uint8)


def png(row: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(row)).save(file, "PNG")
    return file.getvalue()


def open_one(source: Path, **settings: object) -> Table:
    tables = open_source(Task(name="photos", source=str(source), **settings)).tables
    assert list(tables) == ["train"]
    return tables["train"]


def assert_images(table: Table, rows: int = 4) -> None:
    images = table.images()
    assert len(images) == len(table) == rows
    for row in range(rows):
        np.testing.assert_array_equal(np.asarray(decode(images[row])), pixels(row))


def write_parquet(path: Path, columns: dict, features: Features | None = None) -> Path:
    Dataset.from_dict(columns, features=features).to_parquet(path)
    return path


def test_csv_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    for row in range(3):
        (tmp_path / "data" / "pictures" / f"{row}.png").write_bytes(png(row))
    absolute = tmp_path / "3.png"
    absolute.write_bytes(png(3))
    lines = ["path,species", *(f"pictures/{row}.png,{'ba'[row % 2]}" for row in range(3)), f"{absolute},a"]
    (tmp_path / "data" / "table.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    table = open_one(Path("data/table.csv"))
    assert_images(table)
    assert table.class_names() == ["a", "b"]
    assert table.labels(["a", "b"]).tolist() == [1, 0, 1, 0]


def test_tab_separated(tmp_path: Path) -> None:
    for row in range(2):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    (tmp_path / "table.tsv").write_text("file\tlabel\n0.png\tan ant, red\n1.png\tbee\n")
    table = open_one(tmp_path / "table.tsv")
    assert_images(table, 2)
    assert table.class_names() == ["an ant, red", "bee"]


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["None", "NA", "null", "None"], ["NA", "None", "null"]),
        (["007", "7", "010", "7"], ["007", "7", "010"]),
        (["10", "9", "-1", "9"], ["-1", "9", "10"]),
    ],
)
def test_cells_of_a_csv_stay_as_they_are_written(tmp_path: Path, cells: list[str], classes: list[str]) -> None:
    for row in range(4):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    lines = [f"{row},{row}.png,{cell}" for row, cell in enumerate(cells)]
    (tmp_path / "table.csv").write_text("\n".join(["number,file,label", *lines]) + "\n")
    table = open_one(tmp_path / "table.csv")
    assert_images(table)
    assert table.class_names() == classes
    assert table.labels(classes).tolist() == [classes.index(cell) for cell in cells]


@pytest.mark.parametrize(
    ("cells", "message"), [(["1", "", "2", "1"], "row 1 has no label"), (["0.5", "1", "2", "1"], "floating-point")]
)
def test_labels_of_a_csv_that_are_none(tmp_path: Path, cells: list[str], message: str) -> None:
    lines = [f"{row}.png,{cell}" for row, cell in enumerate(cells)]
    (tmp_path / "table.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    with pytest.raises(UserError, match=message):
        open_one(tmp_path / "table.csv").class_names()


BYTES = [png(row) for row in range(4)]


@pytest.mark.parametrize(
    ("column", "feature"),
    [
        ([{"bytes": content, "path": None} for content in BYTES], ImageFeature()),
        (BYTES, Value("binary")),
        (
            [{"bytes": content, "path": "x.png"} for content in BYTES],
            {"bytes": Value("binary"), "path": Value("string")},
        ),
    ],
    ids=["image feature", "binary", "struct"],
)
def test_parquet_with_the_images_inside(tmp_path: Path, column: list, feature: object) -> None:
    features = Features({"image": feature, "label": Value("int64")})
    path = write_parquet(tmp_path / "table.parquet", {"image": column, "label": [7, 7, 30, 4]}, features)
    table = open_one(path)
    assert_images(table)
    assert table.class_names() == ["4", "7", "30"]
    assert table.labels(["4", "7", "30"]).tolist() == [1, 1, 2, 0]


def test_class_label_names_survive(tmp_path: Path) -> None:
    features = Features({"img": Value("binary"), "fine": ClassLabel(names=["wasp", "ant", "unused"])})
    path = write_parquet(tmp_path / "table.parquet", {"img": BYTES, "fine": [0, 1, 1, 0]}, features)
    table = open_one(path)
    assert table.class_names() == ["wasp", "ant", "unused"]
    labels = table.labels(table.class_names())
    assert labels.tolist() == [0, 1, 1, 0]
    assert labels.dtype == np.int64


def test_labels_follow_names_not_numbers(tmp_path: Path) -> None:
    # Another split may have numbered its classes in another order.
    features = Features({"image": Value("binary"), "label": ClassLabel(names=["b", "a"])})
    path = write_parquet(tmp_path / "table.parquet", {"image": BYTES, "label": [0, 1, 1, 0]}, features)
    assert open_one(path).labels(["a", "b"]).tolist() == [1, 0, 0, 1]


def test_minus_one_hides_a_split(tmp_path: Path) -> None:
    features = Features({"image": Value("binary"), "label": ClassLabel(names=["a", "b"])})
    hidden = write_parquet(tmp_path / "hidden.parquet", {"image": BYTES, "label": [-1] * 4}, features)
    assert open_one(hidden).labels(["a", "b"]) is None
    partly = write_parquet(tmp_path / "partly.parquet", {"image": BYTES, "label": [0, 1, -1, 0]}, features)
    with pytest.raises(UserError, match="row 2 has no label"):
        open_one(partly).labels(["a", "b"])


def test_folders(tmp_path: Path) -> None:
    for row, name in enumerate(["b", "b", "ä é", "c"]):
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name / f"{row}.png").write_bytes(png(row))
    table = open_one(tmp_path / "photos")
    assert table.class_names() == ["b", "c", "ä é"]
    actual = {
        (decode(raw).tobytes(), label)
        for raw, label in zip(table.images(), table.labels(["b", "c", "ä é"]).tolist(), strict=True)
    }
    assert actual == {(pixels(row).tobytes(), label) for row, label in enumerate([0, 0, 2, 1])}


def test_a_column_with_the_name_of_images_and_none_in_it_is_passed_over(tmp_path: Path) -> None:
    columns = {"image": [3, 4, 5, 6], "file": BYTES, "label": ["a", "b"] * 2}
    assert_images(open_one(write_parquet(tmp_path / "table.parquet", columns)))


def test_columns_can_be_named(tmp_path: Path) -> None:
    columns = {"image": ["wrong"] * 4, "scan": BYTES, "label": [0] * 4, "kind": ["x", "y", "x", "y"]}
    path = write_parquet(tmp_path / "table.parquet", columns)
    table = open_one(path, image="scan", label="kind")
    assert_images(table)
    assert table.class_names() == ["x", "y"]


def test_a_data_set_of_the_hub_names_no_file_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "HF_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", str(tmp_path / "cache" / "datasets"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    fetched, mine = tmp_path / "cache" / "hub" / "a.png", tmp_path / "mine.png"
    fetched.parent.mkdir(parents=True)
    for file in (fetched, mine):
        file.write_bytes(png(0))
    (fetched.parent / "link.png").symlink_to(mine)
    assert in_cache(str(fetched)) == str(fetched)
    for path in (
        str(mine),
        str(fetched.parent / ".." / ".." / "mine.png"),
        str(fetched.parent / "link.png"),
        "mine.png",
    ):
        place = Path(in_cache(path))
        assert place.resolve().is_relative_to(tmp_path / "cache") and not place.exists()


def test_the_next_to_read_a_table_removes_what_others_had_begun_when_they_were_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tables = tmp_path / "cache" / "nfft" / "tables"
    tables.mkdir(parents=True)
    dead, alive = tables / ".a.arrow.01234567", tables / ".b.arrow.89abcdef"
    dead.write_bytes(b"half")
    with locked(alive):
        assert_images(open_one(write_parquet(tmp_path / "t.parquet", {"image": BYTES, "label": [0, 1, 0, 1]})))
        assert not dead.exists() and alive.exists()


def test_the_next_to_hand_a_folder_on_removes_what_others_had_begun_when_they_were_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders = tmp_path / "cache" / "nfft" / "folders"
    dead, alive = folders / ".a.01234567", folders / ".b.89abcdef"
    for folder in (dead, alive):
        (folder / "data").mkdir(parents=True)
    saved = tmp_path / "saved"
    Dataset.from_dict({"image": BYTES, "label": [0, 1, 0, 1]}).save_to_disk(saved)
    with locked(folders / f"{alive.name}.lock"):
        assert len(open_one(saved)) == 4
        assert not dead.exists() and alive.exists()


def test_fingerprint_follows_files_beside_a_table(tmp_path: Path) -> None:
    for row in range(2):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    (tmp_path / "table.csv").write_text("image,label\n0.png,a\n1.png,b\n")
    before = open_one(tmp_path / "table.csv").fingerprint()
    assert open_one(tmp_path / "table.csv").fingerprint() == before
    (tmp_path / "1.png").write_bytes(b"broken")
    after = open_one(tmp_path / "table.csv").fingerprint()
    assert after != before
    (tmp_path / "1.png").write_bytes(b"mended")  # as long as before
    os.utime(tmp_path / "1.png", (1, 1))
    assert open_one(tmp_path / "table.csv").fingerprint() not in (before, after)
    (tmp_path / "1.png").unlink()
    assert open_one(tmp_path / "table.csv").fingerprint() not in (before, after)


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_fingerprint_follows_the_data(tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        source = changed = write_parquet(tmp_path / "table.parquet", {"image": BYTES, "label": [0, 1, 1, 0]})
        content = write_parquet(tmp_path / "other.parquet", {"image": BYTES, "label": [0, 1, 1, 1]}).read_bytes()
    else:
        for row in range(4):
            (tmp_path / "photos" / "ab"[row % 2]).mkdir(parents=True, exist_ok=True)
            (tmp_path / "photos" / "ab"[row % 2] / f"{row}.png").write_bytes(png(row))
        source, changed, content = tmp_path / "photos", tmp_path / "photos" / "a" / "0.png", png(9)
    before = open_one(source).fingerprint()
    assert open_one(source).fingerprint() == before
    changed.write_bytes(content)
    # A clock as coarse as the file system's may not have moved on.
    os.utime(changed, (1, 1))
    assert open_one(source).fingerprint() != before


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"image": BYTES, "x": [0.5] * 4}, {}, r"no label column found among image, x.*task\.label"),
        ({"image": BYTES, "label": [0.5] * 4}, {}, "floating-point numbers"),
        ({"image": BYTES, "label": [[1, 2]] * 4}, {}, "column 'label' holds .*, not one class an image"),
        ({"image": BYTES, "label": ["a", None, "b", "a"]}, {}, "row 1 has no label"),
        ({"image": BYTES, "label": [1] * 4}, {"label": "labl"}, "no column 'labl'; did you mean 'label'"),
        ({"image": BYTES, "label": [1] * 4}, {"image": "imgae"}, "no column 'imgae'; did you mean 'image'"),
        ({"x": BYTES, "label": [1] * 4}, {}, r"columns are x, label.*task\.image"),
        ({"image": BYTES, "label": [1] * 4}, {"image": "label"}, "column 'label' holds int64, not images"),
    ],
)
def test_refuses(tmp_path: Path, columns: dict, settings: dict, message: str) -> None:
    path = write_parquet(tmp_path / "table.parquet", columns)
    with pytest.raises(UserError, match=message):
        open_one(path, **settings).class_names()


def test_a_class_unknown_to_train_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "table.parquet", {"image": BYTES, "label": ["a", "b", "z", "a"]})
    with pytest.raises(UserError, match="classes that train lacks: z"):
        open_one(path).labels(["a", "b"])


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "photos" / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match=r"no images found in .*photos.*one folder a class"):
        open_one(tmp_path / "photos")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [np.zeros((2, 2))], "label": [0]}, "names"),
        ({"image": [np.zeros((2, 2))], "label": [0, 0], "names": ["a"]}, "one label an image"),
        ({"image": [np.zeros((2, 2))], "label": [1], "names": ["a"]}, "0"),
        ({"image": [np.zeros((2, 2))], "label": [0], "names": ["a"]}, "uint8 arrays, bytes or paths; row 0 is float64"),
    ],
)
def test_a_function_that_returns_nonsense(columns: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(Task(name="photos", source=lambda: columns))


def test_a_function_may_return_bytes_and_paths(tmp_path: Path) -> None:
    (tmp_path / "3.png").write_bytes(png(3))
    columns = {"image": [png(0), png(1), pixels(2), str(tmp_path / "3.png")], "label": [0, 0, 1, 1], "names": [3, 8]}
    table = open_source(Task(name="photos", source=lambda: columns)).tables["train"]
    assert_images(table)
    assert table.class_names() == ["3", "8"]
    before = table.fingerprint()
    (tmp_path / "3.png").write_bytes(b"nothing of a picture")
    assert before != table.fingerprint() is not None


def test_a_function_that_fails() -> None:
    def load() -> dict:
        raise FileNotFoundError("digits.gz")

    with pytest.raises(UserError, match=r"its function load fails: FileNotFoundError: digits\.gz"):
        open_source(Task(name="photos", source=load))


@pytest.mark.parametrize(
    "classes",
    [
        ["cat", "train station", "training shoe"],
        ["lamp", "test tube", "val d'or"],
        ["car", "train"],
        ["[x]", "a*b"],
    ],
)
def test_class_folders_may_bear_the_names_of_splits(tmp_path: Path, classes: list[str]) -> None:
    for name in classes:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for row in range(2):
            (tmp_path / "photos" / name / f"train_test_{row}.png").write_bytes(png(row))
    table = open_one(tmp_path / "photos")
    assert table.class_names() == sorted(classes)
    assert table.labels(table.class_names()).tolist() == [0, 0, 1, 1, 2, 2][: 2 * len(classes)]


def test_folders_all_named_as_splits_are_splits(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for name in ("test tube", "train"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            (tmp_path / "photos" / split / name / "val.png").write_bytes(png(0))
    tables = open_source(Task(name="photos", source=str(tmp_path / "photos"))).tables
    assert sorted(tables) == ["test", "train", "val"]
    assert all(len(table) == 2 and table.class_names() == ["test tube", "train"] for table in tables.values())


def lay_out(folder: Path, *paths: str) -> None:
    for row, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(png(row) if path.endswith(".png") else b"{}")


def test_splits_may_begin_with_a_capital_and_lie_beside_folders_without_images(tmp_path: Path) -> None:
    lay_out(
        tmp_path, "Train/a/1.png", "Train/b/1.png", "Test/a/1.png", "Test/b/2.png", "notes/a.txt", "__MACOSX/a/1.png"
    )
    tables = open_source(Task(name="photos", source=str(tmp_path))).tables
    assert {name: len(table) for name, table in tables.items()} == {"train": 2, "test": 2}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["train/a/1.png", "test/a/1.png", "masks/1.png"], "has test, train, .* beside masks"),
        (
            ["a/1.png", "a/left/1.png", "b/1.png"],
            "a/left holds images a folder below a: expected .* right in its folder",
        ),
        (["photos/a/1.png", "photos/b/1.png"], r"if a is a class itself, name the folder it is in: .*photos\."),
        (["train/a/x/1.png", "train/b/1.png", "test/b/1.png"], "x holds images a folder below a"),
        (["a/1.png", "b/1.png", "cover.png"], r"cover\.png lies beside the folders of classes"),
    ],
)
def test_folders_whose_classes_or_splits_would_be_mistaken(tmp_path: Path, paths: list[str], message: str) -> None:
    lay_out(tmp_path, *paths)
    with pytest.raises(UserError, match=message):
        open_source(Task(name="photos", source=str(tmp_path)))


@pytest.mark.parametrize("beside", ["README.md", "notes.json", "list.csv", "notes/a.csv"])
def test_notes_beside_class_folders_change_nothing(tmp_path: Path, beside: str) -> None:
    lay_out(tmp_path, "test tube/1.png", "train station/1.png", beside)
    assert open_one(tmp_path).class_names() == ["test tube", "train station"]


def test_a_configuration_to_be_named_is_listed(tmp_path: Path) -> None:
    for name in ("large", "small"):
        (tmp_path / name).mkdir()
        write_parquet(tmp_path / name / "train.parquet", {"image": BYTES, "label": [0, 1, 0, 1]})
    entries = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in ("large", "small"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{entries}---\n")
    with pytest.raises(
        UserError, match=r"several configurations, \['large', 'small'\]: name one with --set task\.config"
    ):
        open_source(Task(name="photos", source=str(tmp_path)))
    assert len(open_one(tmp_path, config="small")) == 4
