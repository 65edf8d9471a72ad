"""Of several processes that meet a mistake, one tells it; what a process meets alone, it tells."""

import argparse
import errno
from collections.abc import Sequence

import pytest
import torch
from safetensors import SafetensorError
from torch.utils.data import DataLoader, Dataset

from nfft.cli.errors import run_command
from nfft.errors import LocalError, UserError


def said(error: Exception, rank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    def fail(given: argparse.Namespace) -> int:
        raise error

    monkeypatch.setenv("RANK", rank)
    assert run_command(fail, argparse.Namespace()) == 2
    return capsys.readouterr().err


def test_which_process_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pair = monkeypatch, capsys
    assert said(UserError("no such task."), "0", *pair) == "nfft: no such task.\n"
    assert said(UserError("no such task."), "3", *pair) == ""
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert said(UserError("no such task."), "8", *pair) == "nfft, process 8: no such task.\n", "on another machine"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert said(UserError("no such task."), "3", *pair) == ""
    assert said(LocalError("no memory."), "3", *pair) == "nfft, process 3: no memory.\n"
    assert "nfft, process 3: /disk cannot be used" in said(OSError(5, "Input/output error", "/disk"), "3", *pair)


def test_a_device_that_is_too_small_is_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "0", monkeypatch, capsys)
    assert told.startswith("nfft: the device's memory is too small") and told.count("\n") == 1
    with pytest.raises(RuntimeError, match="shapes"):
        said(RuntimeError("shapes differ"), "0", monkeypatch, capsys)


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory is used up"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"),
            "memory is used",
        ),
        (ImportError("libx.so: failed to map segment: Cannot allocate memory"), "memory is used up"),
        (RuntimeError("can't start new thread"), "no more threads or processes"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "no more threads or processes"),
        (OSError(errno.EMFILE, "Too many open files"), "no more files may be open"),
        (RuntimeError("unable to write to file </torch_12_34_5>: No space left on device (28)"), "--shm-size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible"), "--shm-size"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "a loader process was ended"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "a loader process was ended"),
        (OSError(errno.EIO, "Input/output error"), "a file cannot be used: Input/output error."),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/a/b"), "/a/b cannot be used: Disk quota exceeded."),
        (
            raised_from(ValueError("x"), OSError(errno.ENOSPC, "No space left on device", "/a")),
            "/a cannot be used: No s",
        ),
        (
            OSError("Caught OSError in DataLoader worker process 0.\nOSError: [Errno 5] Input/output error"),
            "Input/output",
        ),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "No space left"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "the connection to the Hub failed"),
        (RuntimeError("Could not determine home directory."), "XDG_CACHE_HOME"),
        (UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"), "is not UTF-8"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (SystemExit(3), "has ended the program (exit status 3)"),
    ],
)
def test_a_sentence_for_what_the_machine_does_not_give(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = said(error, "0", monkeypatch, capsys)
    assert words in told and told.startswith("nfft: ") and told.count("\n") == 1


def test_what_ran_out_is_told_though_it_broke_something_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        try:
            raise MemoryError
        finally:
            raise AttributeError("half made")
    except AttributeError as error:
        assert "memory is used up" in said(error, "0", monkeypatch, capsys)


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x"), AssertionError("x"), TypeError("x")])
def test_a_bug_keeps_its_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(type(error)):
        said(error, "0", monkeypatch, capsys)


class Broken(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise LocalError("no image can be read.")


def first(batches: Sequence[int]) -> int:
    return batches[0]


def test_what_a_loader_process_meets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocalError) as caught:
        next(iter(DataLoader(Broken(), num_workers=1, collate_fn=first)))
    assert said(caught.value, "0", monkeypatch, capsys) == "nfft: no image can be read.\n"
