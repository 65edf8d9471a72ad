"""Which folders are splits and which are classes; what is left out of them is said, and no class goes missing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import noise

from nfft.config.overrides import read_task
from nfft.data.sources.account import Account
from nfft.data.splits import Data, load_data
from nfft.errors import UserError

seeds = iter(range(10**6))


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of folders of pictures, no two the same: photos("ant", "bee")."""

    def make(*folders: str, images: int = 4, ending: str = ".png") -> Path:
        for folder in folders:
            (tmp_path / "photos" / folder).mkdir(parents=True, exist_ok=True)
            for row in range(images):
                noise(4, next(seeds)).save(tmp_path / "photos" / folder / f"{row}{ending}")
        return tmp_path / "photos"

    return make


def opened(folder: Path, **settings: str) -> Data:
    return load_data(read_task(str(folder), {f"task.{name}": value for name, value in settings.items()}))


def sizes(data: Data) -> list[int]:
    return [len(split) for split in data.splits]


def lines(folder: Path, **settings: str) -> list[str]:
    return opened(folder, **settings).account.lines


def test_class_folders_may_be_links(photos: Callable[..., Path], tmp_path: Path) -> None:
    away = photos("ant", "bee").rename(tmp_path / "away")
    folder = photos("wasp")
    for name in ("ant", "bee"):
        (folder / name).symlink_to(away / name)
    data = opened(folder)
    assert data.classes == ["ant", "bee", "wasp"] and sum(sizes(data)) == 12
    assert data.account == Account()


def test_class_folders_may_have_any_name_and_their_pictures_any_format(photos: Callable[..., Path]) -> None:
    photos("__x__", "_y", "[z]")
    photos("avif", ending=".avif")
    data = opened(photos("qoi", ending=".qoi"))
    assert data.classes == ["[z]", "__x__", "_y", "avif", "qoi"]
    assert sum(sizes(data)) == 20
    assert data.account.lines == []


def test_folders_without_pictures_are_named(photos: Callable[..., Path]) -> None:
    folder = photos("train/ant", "train/bee", "val/ant")
    for name in ("test", "train/wasp", "val/bee"):
        (folder / name).mkdir(parents=True)
    (folder / "train" / "wasp" / "notes.txt").write_text("none yet")
    assert lines(folder) == [
        "not used: 3 folders (no image that can be used: test, train/wasp, val/bee), 1 file (.txt)"
    ]


def test_a_class_all_of_whose_pictures_cannot_be_used_is_refused(photos: Callable[..., Path]) -> None:
    folder = photos("ant", "bee")
    (folder / "wasp").mkdir()
    (folder / "wasp" / "1.png").symlink_to("absent")
    with pytest.raises(UserError, match=r"wasp has no image that can be used: 1\.png \(link to nothing\)"):
        opened(folder)


@pytest.mark.parametrize("card", ["license: mit\n", "tags:\n- photos\nconfigs_of_mine: 3\n"])
def test_a_card_beside_class_folders_makes_no_repository(photos: Callable[..., Path], card: str) -> None:
    folder = photos("train station", "ant", "bee")
    (folder / "README.md").write_text(f"---\n{card}---\n# Photos\n")
    data = opened(folder)
    assert data.classes == ["ant", "bee", "train station"] and sum(sizes(data)) == 12


def test_a_table_in_one_class_folder_leaves_the_others(photos: Callable[..., Path]) -> None:
    folder = photos("ant", "bee", "wasp")
    (folder / "ant" / "metadata.csv").write_text("file_name,label\n0.png,x\n1.png,y\n")
    data = opened(folder)
    assert data.classes == ["ant", "bee", "wasp"] and sum(sizes(data)) == 12
    assert data.account.lines == ["not used: 1 file (.csv)"]


def test_parquet_beside_class_folders_is_either(photos: Callable[..., Path]) -> None:
    folder = photos("ant", "bee")
    (folder / "features.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"has features\.parquet beside folders of images, ant, bee"):
        opened(folder)


@pytest.mark.parametrize("name", ["test", "Test", "val", "validation"])
def test_a_flat_split_beside_classes(photos: Callable[..., Path], name: str) -> None:
    folder = photos("ant", "bee", name)
    kind = "test" if name.lower() == "test" else "validation"
    with pytest.raises(UserError, match=rf"{name} holds images right in it, .*ant, bee.*--set task\.{kind}=none"):
        opened(folder)
    data = opened(folder, **{kind: "none"})
    assert data.classes == ["ant", "bee"] and sum(sizes(data)) == 8
    assert data.account.lines == [f"not used: 1 folder ({name}: task.{kind}=none)"]


def test_a_flat_split_beside_others(photos: Callable[..., Path]) -> None:
    folder = photos("train/ant", "train/bee", "test")
    with pytest.raises(UserError, match=r"test holds 4 images in no folder of a class.*--set task\.test=none"):
        opened(folder)
    assert opened(folder, test="none").test is None


def test_a_class_may_be_called_as_a_split_is_and_that_is_said(photos: Callable[..., Path]) -> None:
    assert lines(photos("bus", "train")) == ["train beside bus: taken for a class, not for a split"]


def test_held_out_folders_may_lie_beside_the_classes(photos: Callable[..., Path]) -> None:
    data = opened(photos("ant", "bee", "val/ant", "val/bee", "test/bee"))
    assert data.classes == ["ant", "bee"] and sizes(data) == [8, 8, 4]
    assert data.account.lines == ["the classes beside test, val are for training"]


def test_splits_that_are_not_wanted(photos: Callable[..., Path]) -> None:
    folder = photos("train/ant", "train/bee", "val/ant", "val/bee", "test/ant")
    data = opened(folder, validation="none", test="none")
    assert data.test is None and sizes(data) == [6, 2]
    assert data.account.lines == ["not used: 1 folder (test: task.test=none), 1 folder (val: task.validation=none)"]


def test_two_splits_of_which_one_can_be_used(photos: Callable[..., Path]) -> None:
    folder = photos("train/ant", "train/bee", "val/ant", "validation/bee")
    with pytest.raises(UserError, match=r"has validation and val.*--set task\.validation=validation"):
        opened(folder)
    data = opened(folder, validation="val")
    assert {Path(data.validation[index]).parts[-3] for index in range(4)} == {"val"}
    assert data.account.lines == ["not used: 1 split (validation, 4 images: not asked for)"]


def test_splits_of_other_names_are_named_by_the_task(photos: Callable[..., Path]) -> None:
    data = opened(photos("learn/ant", "learn/bee", "Exam/ant", "masks/ant"), train="learn", test="Exam")
    assert data.classes == ["ant", "bee"] and sizes(data) == [6, 2, 4]
    assert data.account.lines == ["not used: 1 folder (not named as a split: masks)"]


def test_train_cannot_be_left_out(photos: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="train"):
        opened(photos("train/ant", "train/bee"), train="absent")


@pytest.mark.parametrize("name", ["parquet", "csv", "imagefolder", "a::b", "$HOME", "[x]*"])
def test_the_folder_may_have_any_name(photos: Callable[..., Path], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos("ant", "bee")
    monkeypatch.chdir(folder.parent)
    folder.rename(name)
    assert sum(sizes(opened(Path(f"./{name}").absolute()))) == 8
    assert sum(sizes(load_data(read_task(f"./{name}", {})))) == 8


def test_no_pictures_at_all_and_why(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "1.svg").write_text("<svg/>")
    with pytest.raises(UserError, match=r"no images found in .*not used: 1 folder .*ant\), 1 file \(\.svg\)"):
        opened(tmp_path)
