"""Whoever stops reading stops nothing else."""

import errno
import os
from collections.abc import Iterator
from io import BufferedWriter, TextIOWrapper
from pathlib import Path

import pytest

from nfft.cli.streams import LastingFile, is_heard


@pytest.fixture
def unread() -> Iterator[int]:
    """A pipe that nobody reads any more."""
    end, descriptor = os.pipe()
    os.close(end)
    yield descriptor
    os.close(descriptor)


def stream(descriptor: int, name: str | None) -> TextIOWrapper:
    file = LastingFile(descriptor, name)
    return TextIOWrapper(BufferedWriter(file), encoding="ascii", errors="backslashreplace")  # type: ignore[type-var]


def test_a_pipe_that_is_closed(unread: int) -> None:
    output = stream(unread, "standard output")
    assert is_heard(output)
    print("first", file=output, flush=True)
    assert not is_heard(output)
    print("second", file=output, flush=True)
    # What is written past Python goes nowhere either.
    assert os.write(unread, b"third") == 5
    output.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_told_of_once_and_where_text_may_be_lost_never() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    output = stream(descriptor, "standard output")
    print("first", file=output)
    with pytest.raises(OSError, match="standard output") as caught:
        output.flush()
    assert caught.value.errno == errno.ENOSPC
    output.close()
    errors = stream(descriptor, None)
    print("first", file=errors, flush=True)
    errors.close()
    os.close(descriptor)


def test_letters_that_a_terminal_does_not_know(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "said", os.O_WRONLY | os.O_CREAT)
    output = stream(descriptor, None)
    print("top-1 · \udcff", file=output, flush=True)
    output.close()
    os.close(descriptor)
    assert (tmp_path / "said").read_text() == "top-1 \\xb7 \\udcff\n"
