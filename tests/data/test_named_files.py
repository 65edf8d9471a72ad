"""Pictures by name: files, folders, patterns, lists, and lists on standard input."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from pictures import noise

from nfft.data.named_files import NamedFiles
from nfft.errors import UserError


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.png", "photos/a.jpg", "photos/c/d.png", "photos/[1].png", "photos/.ipynb_checkpoints/a.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        noise(8).save(name)
    for name in ("photos/._a.jpg", "photos/notes.pdf", "photos/data.h5"):
        Path(name).write_bytes(b"no picture")


def test_a_folder_is_its_pictures_and_the_rest_is_said() -> None:
    files = NamedFiles(["photos"])
    assert list(files) == ["photos/[1].png", "photos/a.jpg", "photos/b.png", "photos/c/d.png"]
    assert files.total == 4
    assert sorted(map(str, files.unused)) == ["1 file (.h5)", "1 file (.pdf)"]
    assert list(NamedFiles(["./photos/c/"])) == ["photos/c/d.png"]


def test_patterns_and_files_whose_names_look_like_them() -> None:
    assert list(NamedFiles(["photos/*.png"])) == ["photos/[1].png", "photos/b.png"]
    assert list(NamedFiles(["photos/**/d.*"])) == ["photos/c/d.png"]
    assert list(NamedFiles(["photos/[1].png"])) == ["photos/[1].png"]
    assert "photos/c/d.png" in list(NamedFiles(["phot*"]))
    Path("@list.png").touch()
    assert list(NamedFiles(["@list.png"])) == ["@list.png"]
    with pytest.raises(UserError, match=r"photos/\*\.bmp: there is no file whose name fits"):
        NamedFiles(["photos/*.bmp"])


def test_lists_name_what_may_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = b"\xef\xbb\xbfphotos/a.jpg\r\n\nphotos/c\nnowhere.jpg\nphotos/b*\ncaf\xe9.png"
    expected = ["photos/a.jpg", "photos/c/d.png", "nowhere.jpg", "photos/b.png", os.fsdecode(b"caf\xe9.png")]
    Path("files.txt").write_bytes(lines)
    files = NamedFiles(["@files.txt"])
    assert list(files) == expected and files.total is None
    for dash in ("-", "@-"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines)))
        assert list(NamedFiles([dash])) == expected
    with pytest.raises(UserError, match=r"@files\.lst: there is no such list"):
        NamedFiles(["@files.lst"])
