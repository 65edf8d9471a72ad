"""A run can begin with a probe's classifier: with just that, also taken up again, and in two processes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from nfft.cli import finetune
from nfft.training import trainer
from nfft.training.interrupt import Interrupt

pytestmark = pytest.mark.usefixtures("blank_pictures")

FEW = ["--task", "digits", "--precision", "fp32", "--set", "task.train_images=120", "--set", "test_resolution=32"]
FEW += ["--set", "task.validation_fraction=0.05", "--set", "task.test_fraction=0.05"]
STEPS = ["--set", "train_resolution=32", "--batch-size", "16", "--set", "evaluations=2"]
PROBES = ["--set", "method.start=probe"]


@pytest.fixture(autouse=True)
def no_accelerator_is_left() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


def run(folder: Path, *arguments: str) -> dict:
    AcceleratorState._reset_state(reset_partial_state=True)
    assert finetune.main([*FEW, *arguments, "--output-dir", str(folder)]) == 0
    return json.loads((folder / "results.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same(folder: Path, other: Path) -> None:
    one, two = weights(folder), weights(other)
    assert all(one[name].equal(two[name]) for name in one)


def test_a_step_of_length_zero_leaves_the_network_of_a_probe(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    probe = run(tmp_path / "probe", "--method", "probe")
    still = run(tmp_path / "still", *STEPS, *PROBES, "--steps", "1", "--lr", "0")
    assert_same(tmp_path / "probe", tmp_path / "still")
    assert still["head_start"]["validation"] == probe["candidates"]["raw"]
    assert still["head_start"]["l2"] == probe["training"]["l2"]
    assert still["validation"]["confusion"] == probe["validation"]["confusion"]
    # Both the features and the steps are counted.
    assert still["training"]["images"] == 100 + 10 + 16
    assert still["training"]["wall_seconds"] > still["training"]["seconds"] > still["head_start"]["seconds"] > 0
    run_json = json.loads((tmp_path / "still" / "run.json").read_text())
    assert run_json["method"]["settings"] == {"start": "probe"}
    top1 = probe["candidates"]["raw"]["top1"]
    assert f"began with the classifier for l2 {probe['training']['l2']:g}: validation top-1 {top1:.2%}" in (
        capsys.readouterr().out
    )
    assert (
        "a classifier that was fitted to the features of the checkpoint"
        in (tmp_path / "still" / "README.md").read_text()
    )
    assert not (tmp_path / "still" / "features").exists(), "the checkpoint has what came of them"


@pytest.mark.slow
@pytest.mark.parametrize("settings", [["--set", "optimizer=adamw"], ["--set", "optimizer=muon", *PROBES]])
def test_taken_up_in_the_middle_it_ends_as_one_that_never_stopped(
    tmp_path: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    results = run(whole, *STEPS, *settings, "--steps", "4")
    shutil.copytree(whole, again)
    shutil.rmtree(again / "checkpoints/step-00000004")
    monkeypatch.setattr(trainer, "fit_classifier", None)
    resumed = run(again, *STEPS, *settings, "--steps", "4", "--resume")
    assert_same(whole, again)
    last = "checkpoints/step-00000004/state.safetensors"
    one, two = load_file(whole / last), load_file(again / last)
    assert one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)
    assert any(name.startswith("optimizer.exp_avg_sq.") for name in one)
    assert resumed.get("head_start") == results.get("head_start")
    kinds = [[json.loads(line)["kind"] for line in (each / "metrics.jsonl").open()] for each in (whole, again)]
    assert kinds[0] == kinds[1]


@pytest.mark.slow
def test_stopped_among_the_features_it_goes_on_with_those_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [*STEPS, *PROBES, "--steps", "2", "--set", "ema_decay=none"]
    run(tmp_path / "whole", *asked)
    AcceleratorState._reset_state(reset_partial_state=True)
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "requested", lambda self: True)
        stopped = [*FEW, *asked, "--output-dir", str(tmp_path / "stopped")]
        assert finetune.main(stopped) != 0
    assert (tmp_path / "stopped/features/train.npy").is_file() and not (tmp_path / "stopped/checkpoints").exists()
    run(tmp_path / "stopped", *asked, "--resume")
    assert_same(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "layer-decay", "head-and-gains"])
def test_every_method_with_steps_can_begin_so(method: str, tmp_path: Path) -> None:
    still = run(tmp_path / "still", "--method", method, *STEPS, *PROBES, "--steps", "1", "--lr", "0")
    found = still["candidates"]["raw"]
    assert found["top1"] == still["head_start"]["validation"]["top1"] > 0.5
    assert found["loss"] == pytest.approx(still["head_start"]["validation"]["loss"], abs=1e-3)
