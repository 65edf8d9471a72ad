"""Two processes are one: the same samples, the same steps, the same scores."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from processes import SCRIPT, torchrun
from safetensors.torch import load_file

from nfft.cli import finetune

pytestmark = pytest.mark.usefixtures("blank_pictures")

NETWORK = ["--task", "digits", "--model", "scratch:test_nfnet"]


def launch(*arguments: str) -> str:
    """What a launcher says, started as people do."""
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    settings = [
        *("--steps", "10", "--batch-size", "32", "--precision", "fp32"),
        *("--set", "mixup=0.2", "--set", "cutmix=true", "--set", "evaluations=1", "--set", "averages=0.8"),
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    assert finetune.main([*NETWORK, *settings, "--output-dir", str(one)]) == 0
    launcher = ["torch.distributed.run", "--nproc-per-node=2", str(SCRIPT)]
    said = launch(*launcher, *NETWORK, *settings, "--output-dir", str(two))
    assert "2 processes" in said
    assert said.count("test        top-1") == 1
    assert json.loads((two / "run.json").read_text())["command"].startswith("torchrun --nproc-per-node 2 ")

    alone, shared = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    for name, weight in alone.items():
        assert weight.sub(shared[name]).abs().max() < 1e-5, name
    for here, there in zip(metrics(one), metrics(two), strict=True):
        assert here["loss"] == pytest.approx(there["loss"], abs=1e-5)
        assert here["top1"] == there["top1"]
    here, there = (json.loads((folder / "results.json").read_text()) for folder in (one, two))
    for split in ("validation", "test"):
        assert here[split]["count"] == there[split]["count"] == 269  # odd: one process has an image more
        assert here[split]["confusion"] == there[split]["confusion"]


UNLIKE = """
import os

import numpy as np

from nfft import Task


def load():
    classes = 2 + int(os.environ["RANK"])
    return {"image": np.zeros((48, 8, 8), np.uint8), "label": np.arange(48) % classes, "names": list("abc"[:classes])}


TASK = Task(name="unlike", source=load)
"""


def test_processes_with_unlike_images_do_not_train(tmp_path: Path) -> None:
    (tmp_path / "unlike.py").write_text(UNLIKE)
    asked = ["--task", tmp_path / "unlike.py", "--model", "scratch:test_nfnet", "--batch-size", "8", "--steps", "2"]
    done = torchrun(SCRIPT, *asked, "--output-dir", tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("has found other images. Machines that train together need the same data") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_accelerate_launches_the_script_by_path(tmp_path: Path) -> None:
    accelerate = ["accelerate.commands.launch", "--num_processes=1", "--num_machines=1"]
    quiet = ["--mixed_precision=no", "--dynamo_backend=no", str(SCRIPT)]
    said = launch(*accelerate, *quiet, *NETWORK, "--steps", "2", "--output-dir", str(tmp_path / "run"))
    assert "Warning" not in said
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())
    # For a card's readers: of the paths of this machine, the last parts.
    assert recorded["command"].startswith("accelerate launch nfft/finetune.py --task digits")
    assert str(tmp_path) not in recorded["command"]
