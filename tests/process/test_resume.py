"""A run that is killed or interrupted and taken up again equals the run that never was."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from nfft import finetune, publish
from nfft.errors import UserError

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


def assert_same_run(folder: Path, other: Path) -> None:
    """Final weights, both averages, momentum, metrics and scores are equal to the last bit."""
    assert metrics(folder) == metrics(other)
    last = f"checkpoints/step-{STEPS:08d}/state.safetensors"
    for file in ("model.safetensors", last):
        one, two = load_file(folder / file), load_file(other / file)
        assert one.keys() == two.keys()
        assert all(one[name].equal(two[name]) for name in one)
    one, two = (json.loads((each / "results.json").read_text()) for each in (folder, other))
    for split in ("validation", "test"):
        assert {**one[split], "images_per_second": 0} == {**two[split], "images_per_second": 0}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(["--set", "workers=0"], id="no workers"),
        pytest.param(
            ["--set", "workers=2", "--set", "accumulation_steps=2", "--set", "sam_rho=0.05", "--set", "randaugment=1"],
            id="2 workers, accumulation, SAM, RandAugment",
        ),
    ],
)
def test_killed_run_resumes_bit_identical(tmp_path: Path, settings: list[str]) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finetune.main([*COMMON, *settings, "--output-dir", str(whole)]) == 0

    with start(killed, *settings) as process:
        wait_for_step(process, killed, 15)
        process.kill()
    assert [each.name for each in sorted((killed / "checkpoints").glob("step-*"))] == ["step-00000006", "step-00000012"]

    # Step 12 of 1,259 images in batches of 32 lies inside the first epoch.
    assert finetune.main([*COMMON, *settings, "--output-dir", str(killed), "--resume"]) == 0
    assert_same_run(whole, killed)


def test_the_number_of_workers_may_change_between(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert finetune.main([*COMMON, "--output-dir", str(whole)]) == 0
    with start(torn, "--set", "workers=1") as process:
        wait_for_step(process, torn, 13)
        process.kill()
    state = torn / "checkpoints/step-00000012/state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])

    assert finetune.main([*COMMON, "--output-dir", str(torn), "--resume"]) == 0
    assert_same_run(whole, torn)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_saves_and_says_how_to_go_on(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    folder = tmp_path / "run"
    with start(folder, "--set", "workers=2") as process:
        wait_for_step(process, folder, 3)
        os.killpg(process.pid, sent)
        _, errors = process.communicate()
    assert process.returncode == status
    assert f"nfft finetune --task digits --model scratch:test_nfnet --steps {STEPS}" in errors
    assert f"--output-dir {folder} --resume" in errors
    assert "Traceback" not in errors
    (saved,) = (folder / "checkpoints").iterdir()
    assert json.loads((saved / "state.json").read_text())["step"] == len(metrics(folder))

    assert finetune.main([*COMMON, "--output-dir", str(folder), "--resume"]) == 0
    assert metrics(folder)[-1]["step"] == STEPS


def test_two_processes_do_not_work_on_one_run(tmp_path: Path) -> None:
    first = start(tmp_path / "run")
    wait_for_step(first, tmp_path / "run", 1)
    second = start(tmp_path / "run", "--resume")
    _, said = second.communicate()
    assert second.returncode == 2
    assert "another process is at work on the run" in said
    with pytest.raises(UserError, match="another process is at work on the run"):
        publish.add_evaluation(tmp_path / "run", {"task": {"name": "other"}})
    first.kill()
    first.communicate()
    third = start(tmp_path / "run", "--resume")
    _, said = third.communicate()
    assert third.returncode == 0, said
