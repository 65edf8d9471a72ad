"""What is written is whole, or it is not there."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from nfft.errors import UserError
from nfft.files import expanded, read_lines, write_json, write_text
from nfft.training.checkpointing import latest_checkpoint, save_checkpoint


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a full disk; Python ignores the signal that goes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    write_text(path, "first")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "cut short \ud800")
    assert path.read_text() == "first"
    write_json(path, {"name": "é"})
    assert json.loads(path.read_text()) == {"name": "é"}


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_lines_end_where_json_says(tmp_path: Path) -> None:
    names = ["a\u2028b", "c\x85d", "e\x0cf", "g\nh"]
    write_text(tmp_path / "lines", "".join(json.dumps(name, ensure_ascii=False) + "\n" for name in names))
    assert read_lines(tmp_path / "lines") == names


def test_the_home_of_nobody() -> None:
    assert expanded("~/x") == Path.home() / "x"
    with pytest.raises(UserError, match="~nobody-of-that-name/x: there is no such home folder"):
        expanded("~nobody-of-that-name/x")


def test_numbers_of_a_matrix_share_a_line(tmp_path: Path) -> None:
    content = {"confusion": [[1, 0], [22, 3]], "names": ["a", "b [1, 2]"], "empty": []}
    write_json(tmp_path / "results.json", content)
    text = (tmp_path / "results.json").read_text()
    assert json.loads(text) == content
    assert "[22, 3]" in text


def test_no_room_for_a_checkpoint(tmp_path: Path) -> None:
    kept = save_checkpoint(tmp_path, 1, {"model.weight": torch.ones(10)}, {"seconds": 0})
    with largest_file(10_000), pytest.raises(UserError, match=r"cannot be written: .* Free some space.*--resume"):
        save_checkpoint(tmp_path, 2, {"model.weight": torch.ones(10_000)}, {"seconds": 0})
    actual, torn = latest_checkpoint(tmp_path)
    assert actual is not None
    assert actual.folder == kept
    assert not torn
