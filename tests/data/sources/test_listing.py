"""What is below a folder is listed by what it is, and what is not used of it has a reason."""

import os
import socket
from pathlib import Path

import pytest
from pictures import noise
from PIL import Image

from nfft.data.decode import FORMATS, decode, plug_in_of
from nfft.data.sources import listing
from nfft.data.sources.account import Account
from nfft.data.sources.listing import account_of, list_folder, picture_endings, picture_kind
from nfft.errors import UserError

# The first bytes of a file of an iPhone's.
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def write(path: Path, content: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def picture(path: Path, kind: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(4).save(path, format=kind)


def account(folder: Path) -> Account:
    return account_of(list_folder(folder).walk())


def unused(folder: Path) -> list[str]:
    return [str(entry) for entry in account(folder).unused]


def test_endings_are_those_of_formats_that_are_decoded() -> None:
    Image.init()
    for ending, kind in Image.registered_extensions().items():
        if kind in Image.OPEN and ending != ".mpo" and plug_in_of(ending) is None:
            assert (ending in picture_endings()) == (kind in FORMATS)
    assert {".avif", ".avifs", ".qoi", ".pfm", ".mpo", ".jpg", ".tif"} <= picture_endings()
    assert not {".psd", ".eps", ".mpg", ".h5", ".svg"} & picture_endings()


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP"])
@pytest.mark.parametrize("name", ["photo", "photo.jpg_large", "1.2"])
def test_content_decides_where_the_ending_says_nothing(tmp_path: Path, kind: str, name: str) -> None:
    picture(tmp_path / name, kind)
    (path,) = list_folder(tmp_path).picture_paths()
    assert decode(path).size == (4, 4)


@pytest.mark.parametrize(
    "content", [b"", b"P", b"P5 is a text", b"BM is a text of more than thirty-two letters", b"RIFFxxxxWAVE"]
)
def test_what_is_no_picture(content: bytes) -> None:
    assert picture_kind(content) is None


@pytest.mark.parametrize("name", ["1.dng", "1.nef", "1.svs", "1.png.bak", "1.png~", "1.part", "1.thm", "1.tmp"])
def test_negatives_slides_copies_and_parts_are_no_pictures(tmp_path: Path, name: str) -> None:
    picture(tmp_path / name, "TIFF")
    assert list_folder(tmp_path).picture_paths() == []
    assert len(unused(tmp_path)) == 1


def test_files_that_are_no_pictures_are_counted_by_ending(tmp_path: Path) -> None:
    for name in ("a.txt", "b.TXT", "c.pdf", "notes", "d/e.txt"):
        write(tmp_path / name)
    assert unused(tmp_path) == ["3 files (.txt)", "1 file (.pdf)", "1 file (no picture, without ending)"]


def test_rare_endings_are_counted_together(tmp_path: Path) -> None:
    for number in range(30):
        write(tmp_path / f"a.{number:03}")
    lines = unused(tmp_path)
    assert len(lines) == listing.MOST_ENDINGS and lines[-1] == "23 files (other endings)"


def test_what_a_plug_in_would_read_is_named_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.heic", "b.HEIF", "c"):
        write(tmp_path / name, HEIC)
    write(tmp_path / "d.jxl")
    monkeypatch.setattr(listing, "picture_endings", lambda: frozenset({".jpg"}))
    assert unused(tmp_path) == [
        "2 files (.heic: pip install pillow-heif)",
        "1 file (.heif: pip install pillow-heif)",
        "1 file (.jxl: pip install pillow-jxl-plugin)",
    ]
    monkeypatch.setattr(listing, "picture_endings", lambda: frozenset({".heic", ".heif", ".jxl"}))
    assert len(list_folder(tmp_path).picture_paths()) == 4


@pytest.mark.parametrize(
    "name",
    [
        ".DS_Store", "Thumbs.db", "desktop.ini", "._1.png", "__MACOSX/a/1.png", ".ipynb_checkpoints/1.png",
        "@eaDir/1.png", "$RECYCLE.BIN/1.png", "lost+found/1.png", ".git/1.png",
    ],
)  # fmt: skip
def test_nothing_is_said_of_what_systems_leave_behind(tmp_path: Path, name: str) -> None:
    picture(tmp_path / name)
    assert list_folder(tmp_path).picture_paths() == []
    assert account(tmp_path).lines == []


def test_hidden_pictures_are_counted(tmp_path: Path) -> None:
    for name in (".1.png", ".kept/1.png", ".profile"):
        picture(tmp_path / name)
    assert unused(tmp_path) == ["1 file (hidden)", "1 folder (hidden)"]


def test_links_are_followed_but_not_back_up(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere" / "1.png")
    photos = tmp_path / "photos"
    picture(photos / "ant" / "1.png")
    (photos / "bee").symlink_to(tmp_path / "elsewhere")
    (photos / "ant" / "2.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (photos / "ant" / "up").symlink_to("..")
    (photos / "ant" / "same").symlink_to(photos / "ant")
    assert list_folder(photos).picture_paths() == [
        str(photos / name) for name in ("ant/1.png", "ant/2.png", "bee/1.png")
    ]
    assert unused(photos) == ["2 folders (link to a folder above)"]
    assert account(photos).details == ("link to a folder above: same, up",)


def test_links_to_nothing_are_named(tmp_path: Path) -> None:
    for name in "abcde":
        (tmp_path / f"{name}.png").symlink_to("absent.png")
    (tmp_path / "self.png").symlink_to("self.png")
    assert account(tmp_path).lines == [
        "link to nothing: a.png, b.png, c.png, …",
        "not used: 6 files (link to nothing)",
    ]


def test_pipes_and_sockets_are_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "1.png")
    monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("2")
        assert unused(tmp_path) == ["1 file (pipe)", "1 file (socket)"]
    assert list_folder(tmp_path).picture_paths() == []


def test_folders_without_end(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*"x" * (listing.DEEPEST + 5))
    picture(deepest / "1.png")
    assert unused(tmp_path) == [f"1 folder (deeper than {listing.DEEPEST} folders)"]


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(listing.os, "scandir", refuse)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        list_folder(tmp_path)
