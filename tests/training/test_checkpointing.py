"""What was saved comes back to the bit, or not at all."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from nfft.training.checkpointing import latest_checkpoint, prune, save_checkpoint


def make_tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, 2, 2, generator=draw)
    return {
        "rows": weight,
        "last": weight.to(memory_format=torch.channels_last),
        "half": torch.randn(5, generator=draw).bfloat16(),
        "scalar": torch.tensor(3.5),
        "count": torch.tensor(7),
        "strided": torch.arange(12.0)[::3],
        "trained": nn.Parameter(torch.ones(2)),
        "odd": torch.tensor([float("nan"), float("inf"), -0.0]),
    }


def save_steps(folder: Path, *steps: int) -> list[Path]:
    return [save_checkpoint(folder, step, make_tensors(step), {"scaler": None}) for step in steps]


def test_round_trip_is_exact(tmp_path: Path) -> None:
    tensors, facts = make_tensors(), {"scaler": {"scale": 65536.0, "_growth_tracker": 3}, "note": "é"}
    folder = save_checkpoint(tmp_path / "run" / "checkpoints", 120, tensors, facts)
    saved, torn = latest_checkpoint(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert torn == []
    assert saved.folder == folder
    assert saved.facts["step"] == 120
    assert {name: saved.facts[name] for name in facts} == facts
    assert saved.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        back = saved.tensors[name]
        assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
        same = back.contiguous().view(-1).view(torch.uint8), tensor.detach().contiguous().view(-1).view(torch.uint8)
        assert torch.equal(*same), name


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "absent") == (None, [])


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    save_steps(tmp_path, 10, 20, 30, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000030", "step-00000100"]
    saved, _ = latest_checkpoint(tmp_path)
    assert saved is not None
    assert saved.facts["step"] == 100


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "truncated tensors": lambda folder: truncate(folder / "state.safetensors"),
    "empty tensors": lambda folder: (folder / "state.safetensors").write_bytes(b""),
    "missing tensors": lambda folder: (folder / "state.safetensors").unlink(),
    "an edited byte": lambda folder: flip_last_byte(folder / "state.safetensors"),
    "missing facts": lambda folder: (folder / "state.json").unlink(),
    "truncated facts": lambda folder: truncate(folder / "state.json"),
    "facts of another kind": lambda folder: (folder / "state.json").write_text("[]"),
    "an edited step": lambda folder: (folder / "state.json").write_text(
        (folder / "state.json").read_text().replace('"step": 20', '"step": 21')
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_one_is_passed_over_and_said(tmp_path: Path, damage) -> None:
    first, second = save_steps(tmp_path, 10, 20)
    damage(second)
    saved, torn = latest_checkpoint(tmp_path)
    assert saved is not None
    assert saved.folder == first
    assert torch.equal(saved.tensors["rows"], make_tensors(10)["rows"])
    assert len(torn) == 1
    assert str(second) in torn[0]
    assert "damaged" in torn[0]

    damage_all = DAMAGES["truncated tensors"]
    damage_all(first)
    saved, torn = latest_checkpoint(tmp_path)
    assert saved is None
    assert len(torn) == 2


def test_one_that_cannot_be_read_just_now_is_not_passed_over(tmp_path: Path) -> None:
    _, second = save_steps(tmp_path, 10, 20)
    (second / "state.json").rename(tmp_path / "elsewhere")
    (second / "state.json").mkdir()  # which the system does not read, whole as it may be
    with pytest.raises(OSError, match="directory"):
        latest_checkpoint(tmp_path)


def test_a_new_checkpoint_outlives_damaged_ones_of_later_steps(tmp_path: Path) -> None:
    for folder in save_steps(tmp_path, 90, 100):
        truncate(folder / "state.safetensors")
    # The run began again, so it comes by earlier steps.
    for step in (10, 20, 30):
        save_steps(tmp_path, step)
        saved, _ = latest_checkpoint(tmp_path)
        assert saved is not None
        assert saved.facts["step"] == step


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save_steps(tmp_path, 10)
    save_checkpoint(tmp_path, 10, {"rows": torch.zeros(2)}, {})
    saved, _ = latest_checkpoint(tmp_path)
    assert saved is not None
    assert torch.equal(saved.tensors["rows"], torch.zeros(2))


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    save_steps(tmp_path, 10)
    leftover = tmp_path / ".step-00000020.4711"
    leftover.mkdir()
    (leftover / "state.safetensors").write_bytes(b"half of it")
    saved, torn = latest_checkpoint(tmp_path)
    assert saved is not None
    assert torn == []
    # Whoever only reads may not be the one who writes.
    assert leftover.exists()
    save_steps(tmp_path, 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000020"]


def test_holds_safetensors_and_json_alone(tmp_path: Path) -> None:
    (folder,) = save_steps(tmp_path, 10)
    assert sorted(path.name for path in folder.iterdir()) == ["state.json", "state.safetensors"]
    json.loads((folder / "state.json").read_text())
    # The head of a safetensors file: its length in 8 bytes, then JSON.
    content = (folder / "state.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert make_tensors().keys() <= header.keys()


def test_folders_of_others_are_neither_read_nor_deleted(tmp_path: Path) -> None:
    others = ["step-best", "step-1", ".step-old", "step-00000099.bak"]
    for name in others:
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").touch()
    (tmp_path / "step-00000098").touch()  # a file, which no checkpoint is
    save_steps(tmp_path, 10, 20, 30)
    saved, torn = latest_checkpoint(tmp_path)
    assert saved is not None and saved.facts["step"] == 30 and torn == []
    kept = {"step-00000020", "step-00000030", "step-00000098", *others}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_steps_are_counted_not_spelled(tmp_path: Path) -> None:
    save_steps(tmp_path, 99_999_999, 100_000_000)
    saved, _ = latest_checkpoint(tmp_path)
    assert saved is not None and saved.facts["step"] == 100_000_000


def test_a_third_that_a_killed_process_left_goes(tmp_path: Path) -> None:
    folders = [tmp_path / "run" / path.name for path in save_steps(tmp_path / "run", 20, 30)]
    extra = save_steps(tmp_path / "other", 10)[0].rename(tmp_path / "run" / "step-00000010")
    prune(tmp_path / "run", folders[-1])
    assert not extra.exists() and all(folder.exists() for folder in folders)
