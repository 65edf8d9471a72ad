"""Two processes train as the paper's arithmetic does, and as one process does: with SAM each climbs by itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference_run
from processes import torchrun
from reference_run import SHARED, by_nfft, by_reference, distance, result

from nfft.distributed.accelerator import make_accelerator


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where each of two processes has left what it ended with."""
    folder = tmp_path_factory.mktemp("trained")
    done = torchrun(reference_run.__file__, folder)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return folder


@pytest.mark.parametrize("case", SHARED)
def test_two_processes_take_the_references_steps(case: str, trained: Path) -> None:
    # One process does alone what each of two does half of.
    alone = replace(SHARED[case], accumulation_steps=2 * SHARED[case].accumulation_steps)
    wanted = by_reference(alone)
    for double, tolerance, momentum_tolerance in ((True, 1e-11, 1e-11), (False, 5e-6, 2e-4)):
        one, _ = by_nfft(alone, make_accelerator("fp32"), double=double)
        for rank in range(2):
            with np.load(trained / f"{case}-{'double' if double else 'single'}-{rank}.npz") as saved:
                two = dict(saved)
            losses, clipped = two.pop("loss"), two.pop("clipped")
            assert losses == pytest.approx(wanted.losses, abs=tolerance)
            assert clipped == pytest.approx(wanted.clipped)
            for each in (result(wanted), one):
                assert distance(two, each, "weights") < tolerance
                assert distance(two, each, "average") < tolerance
                assert distance(two, each, "momentum") < momentum_tolerance
