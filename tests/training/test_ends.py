"""Runs that something goes wrong with, as processes: a sentence, an end in time, nobody left, and the run goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import Process, metrics, run
from safetensors.torch import load_file

from nfft.cli import finetune
from nfft.runs.folder import is_held

pytestmark = pytest.mark.usefixtures("blank_pictures")

STEPS = 6
TASK = ["--task", "digits", "--model", "scratch:test_nfnet", "--steps", str(STEPS), "--batch-size", "16"]
COMMON = [*TASK, "--set", "evaluations=3", "--set", "threads=1"]
COMMON += ["--set", "task.validation_fraction=0.05", "--set", "task.test_fraction=0.05"]
# Room for what a machine that is busy takes on top.
PATIENCE = 30
# Before the fourth of six steps, something happens.
HAPPENS = """
import errno, multiprocessing, os, runpy, signal, sys, time
import nfft.training.trainer as trainer

taken, step = [], trainer.optimizer_step

def taking(*given):
    taken.append(1)
    if len(taken) == 4:
        happens()
    return step(*given)

def happens():
    children = multiprocessing.active_children()
    {happening}

trainer.optimizer_step = taking
sys.argv[0] = "nfft"
runpy.run_module("nfft.finetune", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert finetune.main([*COMMON, "--output-dir", str(folder)]) == 0
    return folder


def living(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, leader, *_ = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(leader) == session and state != "Z":
            found.append(int(place.name))
    return found


def all_end(session: int) -> bool:
    """Whether the processes of a session end within the time that is granted to them."""
    until = time.monotonic() + PATIENCE
    while living(session):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes as Linux lists them")
@pytest.mark.parametrize(
    ("workers", "happening", "status", "words"),
    [
        pytest.param(2, "raise KeyError('bug')", 1, "KeyError: 'bug'", id="a bug"),
        pytest.param(2, "os.kill(children[0].pid, 9)", 2, "a loader process was ended", id="a worker is killed"),
        pytest.param(
            2,
            "[os.kill(each.pid, 19) for each in children]; raise MemoryError",
            2,
            "memory is",
            id="workers stand still",
        ),
        pytest.param(
            2,
            "[(os.kill(os.getpid(), 2), time.sleep(0.05)) for _ in range(5)]",
            130,
            "nfft: interrupted",
            id="Ctrl-C often",
        ),
        pytest.param(2, "os.kill(os.getpid(), 9)", -9, "", id="killed"),
    ],
)
def test_it_ends_and_goes_on(
    tmp_path: Path, whole: Path, workers: int, happening: str, status: int, words: str
) -> None:
    folder = tmp_path / "run"
    arguments = [*COMMON, "--set", f"workers={workers}", "--output-dir", str(folder)]
    with Process("-c", HAPPENS.replace("{happening}", happening), *arguments) as process:
        try:
            _, errors = process.communicate(60)
            assert all_end(process.pid)
        finally:
            for left in living(process.pid):
                os.kill(left, signal.SIGKILL)
    assert process.returncode == status, errors
    assert words in errors
    assert errors.count("Traceback (most recent call last)") == (status == 1)
    assert not is_held(folder)
    assert finetune.main([*COMMON, "--output-dir", str(folder), "--resume"]) == 0
    assert metrics(folder) == metrics(whole)
    here, there = (load_file(each / "model.safetensors") for each in (folder, whole))
    assert all(here[name].equal(there[name]) for name in there)


# As after `2>&1 >&- | true`.
UNHEARD = """
import os, runpy, sys

reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 2)
os.close(1)
sys.argv[0] = "nfft"
runpy.run_module("nfft.finetune", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="streams as Unix has them")
def test_nobody_reads_what_it_says(tmp_path: Path) -> None:
    assert run("-c", UNHEARD, *COMMON, "--output-dir", tmp_path / "run").returncode == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["training"]["steps"] == STEPS


@pytest.mark.skipif(sys.platform == "win32", reason="as shells of Unix write it")
def test_help_that_is_not_read_to_its_end() -> None:
    command = f"{sys.executable} -m nfft --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
