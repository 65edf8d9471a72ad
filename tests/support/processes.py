"""Runs as processes of their own: started, watched, and read."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import nfft

# What launchers are given.
SCRIPT = Path(nfft.__file__).parent / "finetune.py"
STEPS = 24
COMMON = [
    *("--task", "digits", "--model", "scratch:test_nfnet", "--steps", str(STEPS), "--batch-size", "32"),
    *("--set", "evaluations=4", "--set", "dropout=0.2", "--set", "stochastic_depth=0.1"),
    *("--set", "mixup=0.2", "--set", "cutmix=true"),
]


def start(folder: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "nfft.finetune", *COMMON, *arguments, "--output-dir", str(folder)]
    # In a process group of its own, which Ctrl-C reaches as a whole.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(command, **pipes)


def wait_for_step(process: subprocess.Popen, folder: Path, step: int) -> None:
    """Return once the run has recorded `step`."""
    recorded = folder / "metrics.jsonl"
    while not (recorded.is_file() and f'"kind": "train", "step": {step},' in recorded.read_text()):
        # The core is the process's own meanwhile.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
            pytest.fail(f"it ended before step {step}: {process.communicate()}")


def metrics(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]
