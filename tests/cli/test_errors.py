"""Of several processes that meet a mistake, one tells it; what a process meets alone, it tells."""

import argparse
from collections.abc import Sequence

import pytest
import torch
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
