"""What is written is whole, or it is not there."""

import json
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from processes import Process

from nfft.errors import UserError
from nfft.files import (
    cache_folder,
    check_writable,
    expanded,
    finished_name,
    is_locked,
    locked,
    make_folder,
    read_json,
    read_lines,
    remove_unfinished,
    write_json,
    write_text,
    writing,
)
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


@pytest.mark.parametrize("content", [b"", b"{", b"[1", b'"\xff"', b"[" * 100_000, b"1" * 5000])
def test_what_is_no_json_is_of_one_kind(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(ValueError, match=r".+"):
        read_json(tmp_path / "file.json")


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


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, Path]] = []
    rename, flush = Path.replace, os.fsync

    def replace(path: Path, target: Path) -> Path:
        done.append(("rename", target))
        return rename(path, target)

    def fsync(descriptor: int) -> None:
        done.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))
        flush(descriptor)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(os, "fsync", fsync)
    made = make_folder(tmp_path / "a" / "b")
    assert made == [tmp_path / "a", tmp_path / "a" / "b"]
    assert done == [("sync", tmp_path), ("sync", tmp_path / "a")]
    done.clear()
    write_text(made[1] / "results.json", "{}")
    (first, written), *rest = done
    assert first == "sync" and finished_name(written.name) == "results.json"
    assert rest == [("rename", made[1] / "results.json"), ("sync", made[1])]


def test_a_disk_that_does_not_take_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        def fsync(descriptor: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fsync)

    refuse(5)
    with pytest.raises(OSError, match="Input/output error") as caught:
        write_text(tmp_path / "run.json", "{}")
    assert finished_name(Path(caught.value.filename).name) == "run.json"
    assert [*tmp_path.iterdir()] == []
    refuse(22)  # of a file system that knows no such thing
    write_text(tmp_path / "run.json", "{}")
    assert (tmp_path / "run.json").read_text() == "{}"


@pytest.mark.parametrize(
    "name", ["step-best", ".results.json", ".results.json.12", "results.json.0123abcd", "..0123abcd"]
)
def test_names_that_are_not_of_files_half_written(name: str) -> None:
    assert finished_name(name) is None


def test_what_can_be_written_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "x.json", tmp_path / ("x" * 250)):
        with pytest.raises(UserError, match=r"--output .*(is a folder|cannot be written)"):
            check_writable(place, "--output")
    check_writable(tmp_path / "new" / "folder" / "x.json", "--output")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_lock_is_held_once_and_leaves_nothing(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with locked(lock) as mine:
        assert mine and is_locked(lock)
        with locked(lock) as again:
            assert not again
        assert is_locked(lock), "asking gives nothing away"
    assert not lock.exists() and not is_locked(lock)
    with pytest.raises(KeyboardInterrupt), locked(lock):
        raise KeyboardInterrupt
    assert not lock.exists()


WRITER = """
import os, sys
from pathlib import Path
from nfft.files import write_text
flush = os.fsync
def fsync(_):
    os.fsync = flush
    open(sys.argv[2]).read()  # until who reads along has opened and closed it
os.fsync = fsync
write_text(Path(sys.argv[1]), "whole")
"""


def test_what_a_killed_process_was_writing_goes_and_what_another_is_at_stays(tmp_path: Path) -> None:
    pipes, path = [tmp_path / "first", tmp_path / "second"], tmp_path / "scan.json"
    for pipe in pipes:
        os.mkfifo(pipe)
    killed, other = (Process("-c", WRITER, path, pipe) for pipe in pipes)
    with killed, other:
        with pipes[0].open("w"), pipes[1].open("w"):
            assert len([*tmp_path.glob(".scan.json.*")]) == 2
            killed.kill()
            killed.wait()
            for _ in range(2):
                remove_unfinished(tmp_path, lambda name: name == path.name)
            assert len([*tmp_path.glob(".scan.json.*")]) == 1
        assert other.communicate()[1] == "" and path.read_text() == "whole"
    assert {each.name for each in tmp_path.iterdir()} == {"first", "second", "scan.json"}


def test_a_pipe_or_a_link_of_such_a_name_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".scan.json.0123abcd")
    (tmp_path / ".scan.json.0123abce").symlink_to(tmp_path / "absent")
    (tmp_path / ".scan.json.0123abcf").mkdir()
    remove_unfinished(tmp_path, lambda name: name == "scan.json")
    assert [path.name for path in tmp_path.iterdir()] == [".scan.json.0123abcf"]


CLEANER = """
import sys
from pathlib import Path
from nfft.files import remove_unfinished, write_text
path = Path(sys.argv[1])
for number in range(int(sys.argv[2])):
    remove_unfinished(path.parent, lambda name: name == path.name)
    write_text(path, "whole")
    assert path.read_text() == "whole"
"""


def test_a_file_is_written_however_many_clean_there(tmp_path: Path) -> None:
    running = [Process("-c", CLEANER, tmp_path / "scan.json", 100) for _ in range(3)]
    assert [process.communicate()[1] for process in running] == [""] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["scan.json"]


CONTENDER = """
import os, sys
from pathlib import Path
from nfft.files import locked
lock, inside, rounds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for _ in range(rounds):
    with locked(lock) as mine:
        if mine:
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            inside.unlink()
"""


def test_a_lock_is_held_once_however_many_want_it(tmp_path: Path) -> None:
    # Whoever is inside makes a file that must not be there yet.
    asked = ["-c", CONTENDER, tmp_path / ".lock", tmp_path / "inside", 1500]
    running = [Process(*asked) for _ in range(3)]
    assert [process.communicate()[1] for process in running] == [""] * 3


def test_another_thread_is_someone_else(tmp_path: Path) -> None:
    seen: list[bool] = []

    def ask() -> None:
        with locked(tmp_path / ".lock") as mine:
            seen.append(mine)

    with locked(tmp_path / ".lock"):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    ask()
    assert seen == [False, True]


def test_a_cache_in_the_home_of_a_stranger_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "~no-one-here/cache")
    with pytest.raises(UserError, match=r"~no-one-here/cache, is in a home that is not known here\. Set XDG_CACHE"):
        cache_folder("scans")


def test_streamed_content_is_written_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="half"), writing(tmp_path / "model") as file:
        file.write_bytes(b"half")
        raise ValueError("half of it")
    assert [*tmp_path.iterdir()] == []
    with writing(tmp_path / "model") as file:
        file.write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
