"""Threads are no more than the cores that a process may have, and that others leave to it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import nfft.cores
from nfft.cores import Moment, cores
from nfft.distributed import accelerator
from nfft.distributed.accelerator import set_threads

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")


@pytest.fixture
def four_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of six, four of them for this process; returns what it tells of their work."""
    statistics = tmp_path / "stat"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(nfft.cores, "STATISTICS", statistics)
    monkeypatch.setattr(nfft.cores, "QUOTA", tmp_path / "none")
    return statistics


@pytest.fixture
def own_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch's choice is four, and nothing else has a say."""
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE", "ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def worked(shares: list[float], seconds: float = 100) -> str:
    """/proc/stat after so many seconds in which each core was at work for a share of them, for other processes."""
    tick = os.sysconf("SC_CLK_TCK")
    # Of a core's work, users' has a half and nice users' the rest; disks are waited for as well.
    lines = [
        f"cpu{n} {int(s * seconds * tick / 2)} {int(s * seconds * tick / 2)} 0 9 77 0 0 0 0 0"
        for n, s in enumerate(shares)
    ]
    return "\n".join(["cpu 1 2 3 4 5 6 7 8 9 0", *lines, "intr 5 0"]) + "\n"


@needs_linux
@pytest.mark.parametrize(
    ("shares", "idle"),
    [
        ([0, 0, 0, 0, 1, 1], 4),
        ([1, 0, 0, 0, 0, 0], 3),
        ([0.5, 0.5, 0.5, 0.75, 0, 0], 2),
        ([0.2, 0.1, 0, 0, 0, 0], 4),
        ([1, 1, 1, 1, 1, 1], 1),
    ],
)
def test_cores_that_others_leave(four_cores: Path, shares: list[float], idle: int) -> None:
    four_cores.write_text(worked([0] * 6))
    before = Moment.now()
    four_cores.write_text(worked(shares))
    assert before.busy is not None
    assert Moment(time.monotonic() - 100, before.busy, time.process_time()).idle_cores() == idle


@needs_linux
def test_a_glance_tells_nothing(four_cores: Path) -> None:
    four_cores.write_text(worked([0] * 6))
    before = Moment.now()
    four_cores.write_text(worked([1] * 6))
    assert before.idle_cores() == 4


@needs_linux
def test_a_system_that_does_not_tell(four_cores: Path) -> None:
    assert Moment.now().idle_cores() == 4
    four_cores.write_text("nonsense\ncpu0 x\n")
    assert Moment.now().idle_cores() == 4


@needs_linux
def test_real_neighbors_are_seen() -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores())]
    try:
        began = Moment.now()
        # What this process does in the meantime is its own; so is a core, whatever others do.
        while began.seconds < 1.1:
            time.monotonic()
        assert began.idle_cores() == 1
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize(("text", "count"), [("max 100000", 4), ("250000 100000", 3), ("1000 100000", 1), ("", 4)])
def test_a_container_has_its_share(
    four_cores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, count: int
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    monkeypatch.setattr(nfft.cores, "QUOTA", quota)
    assert cores() == count


def test_threads_are_no_more_than_idle_cores(
    four_cores: Path, own_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator.Moment, "idle_cores", lambda self: 3)
    assert set_threads(None) == [] and torch.get_num_threads() == 4
    assert set_threads(4, Moment.now()) == [] and torch.get_num_threads() == 4, "who names a number gets it"
    (line,) = set_threads(None, Moment.now())
    assert "of 4 cores it takes 3" in line and "OMP_NUM_THREADS=4" in line
    assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(2)
    assert set_threads(None, Moment.now()) == [] and torch.get_num_threads() == 2
