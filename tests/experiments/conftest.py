"""Runs of studies and comparisons without a process for each."""

import contextlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from nfft.cli import compare, finetune, study
from nfft.cli.many_runs import run_cells
from nfft.experiments.cells import Cell
from nfft.experiments.process import arguments_of


def run_here(cell: Cell, folder: Path, stop_requested: Callable[[], bool]) -> str:
    """As `run_process`, but for the process and the log."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        finetune.main(arguments_of(cell, folder))
    return said.getvalue().splitlines()[-1]


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nfft study` and `nfft compare` run their cells in this process."""
    for command in (study, compare):
        monkeypatch.setattr(command, "run_cells", partial(run_cells, run=run_here))
