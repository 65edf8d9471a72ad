"""Tensors are written as they lie in a network, for everyone who may read the folder."""

import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nfft.errors import UserError
from nfft.models.tensors import write_tensors


def test_views_and_parameters_come_back_as_plain_tensors(tmp_path: Path) -> None:
    tensors = {"view": torch.arange(6.0).view(2, 3).T, "weight": torch.nn.Parameter(torch.ones(2))}
    write_tensors(tmp_path / "file", tensors)
    read = load_file(tmp_path / "file")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_the_file_is_as_readable_as_others(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_tensors(tmp_path / "file", {"weight": torch.ones(2)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_no_room_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent/file cannot be written: .* then go on with the same command"):
        write_tensors(tmp_path / "absent" / "file", {"weight": torch.ones(2)})
