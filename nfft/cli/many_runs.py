"""What `nfft compare` and `nfft study` say while they run."""

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nfft.command_line import command
from nfft.experiments.cells import Cell, Failed
from nfft.experiments.process import run_process
from nfft.experiments.runner import RunCell, run_all
from nfft.training.interrupt import Interrupt

TIME_IS_UP = 124


def run_cells(
    cells: Sequence[Cell], folder: Path, minutes: float = math.inf, run: RunCell = run_process
) -> tuple[list[Failed], int]:
    """Run the cells that are not done, in a folder that has been checked, and tell people.

    Args:
        minutes: after which the run that is under way is saved, and no other begins.
        run: how each is run.

    Returns:
        What failed, and the exit status of a stop before the end: as for Ctrl-C, or 124, as of `timeout`; else 0.
    """
    end, stopped = time.monotonic() + 60 * minutes, False

    def stop_requested() -> bool:
        nonlocal stopped
        stopped = stopped or interrupt.requested() or time.monotonic() > end
        return stopped

    with Interrupt() as interrupt:
        failed = run_all(cells, folder, lambda line: print(f"        {line}", flush=True), stop_requested, run)
    if not stopped:
        return failed, 0
    print("stopped; what is done stays. The same command goes on:", file=sys.stderr)
    print(f"  {command()}", file=sys.stderr)
    return failed, interrupt.exit_status if interrupt.requested() else TIME_IS_UP
