"""Adapters in processes: two make the same one as one does, and a killed run goes on to the same bits."""

import json
from pathlib import Path

import pytest
from processes import COMMON, SCRIPT, STEPS, metrics, start, torchrun, wait_for_step
from safetensors.torch import load_file

from nfft.cli import finetune

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("blank_pictures")]

ADAPTER = "adapter_model.safetensors"


def test_two_processes_make_the_adapter_of_one(checkpoint: Path, tmp_path: Path) -> None:
    settings = [
        *("--task", "digits", "--method", "lora", "--model", str(checkpoint)),
        *("--steps", "20", "--batch-size", "32", "--precision", "fp32"),
        *("--set", "task.validation_fraction=0.05", "--set", "task.test_fraction=0.05"),
        *("--set", "method.rank=4", "--set", "method.dora=true", "--set", "evaluations=1"),
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    assert finetune.main([*settings, "--output-dir", str(one)]) == 0
    done = torchrun(SCRIPT, *settings, "--output-dir", two)
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stdout

    alone, shared = load_file(one / ADAPTER), load_file(two / ADAPTER)
    assert alone.keys() == shared.keys() and any("lora_magnitude_vector" in name for name in alone)
    assert max(float(tensor.abs().max()) for name, tensor in alone.items() if "lora_B" in name) > 1e-3, "it has learned"
    for name, tensor in alone.items():
        assert tensor.sub(shared[name]).abs().max() < 1e-5, name
    for here, there in zip(metrics(one), metrics(two), strict=True):
        assert here["loss"] == pytest.approx(there["loss"], abs=1e-5)
    here, there = (json.loads((folder / "results.json").read_text()) for folder in (one, two))
    assert here["test"]["confusion"] == there["test"]["confusion"]


def test_a_killed_run_makes_the_same_adapter_to_the_bit(checkpoint: Path, tmp_path: Path) -> None:
    settings = ["--model", str(checkpoint), "--method", "lora", "--set", "workers=0"]
    settings += ["--set", "method.dropout=0.2", "--set", "method.dora=true", "--set", "sam_rho=0.05"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finetune.main([*COMMON, *settings, "--output-dir", str(whole)]) == 0
    with start(killed, *settings) as process:
        wait_for_step(process, killed, 9)
        process.kill()
    assert not (killed / ADAPTER).exists()
    assert finetune.main([*COMMON, *settings, "--output-dir", str(killed), "--resume"]) == 0

    assert metrics(whole) == metrics(killed)
    for file in (ADAPTER, f"checkpoints/step-{STEPS:08d}/state.safetensors"):
        one, two = load_file(whole / file), load_file(killed / file)
        assert one.keys() == two.keys()
        assert all(one[name].equal(two[name]) for name in one)
