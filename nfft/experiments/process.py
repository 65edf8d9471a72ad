"""A run of many, in a process of its own."""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from nfft.experiments.cells import Cell
from nfft.runs.folder import has_run

try:
    import fcntl
except ImportError:  # only Unix has it
    fcntl = None  # type: ignore[assignment]

LOG = "log"
POLL_SECONDS = 0.2


def run_process(cell: Cell, folder: Path, stop_requested: Callable[[], bool]) -> str:
    """Run or go on with a cell, what it prints in a file beside its folder; returns the last line of that."""
    # -P: a folder called nfft where the command is given is not to be taken for the package.
    command = [sys.executable, "-P", "-m", "nfft", "finetune", *arguments_of(cell, folder)]
    # In a session of its own, it hears of an interruption from here alone, and once.
    with (
        cell.beside(folder, LOG).open("a+") as output,
        _marked(output),
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True) as process,
    ):
        earlier = output.tell()
        try:
            _wait(process, stop_requested)
        except BaseException:
            process.kill()
            raise
        output.seek(earlier)
        said = [line for line in output.read().splitlines() if line.strip()]
    if process.returncode < 0:
        return f"it was killed by signal {-process.returncode}"
    return said[-1] if said else f"it ended with status {process.returncode} and said nothing"


def is_running(cell: Cell, folder: Path) -> bool:
    """Whether a process that runs the cell is alive, on this machine, whatever became of the one that started it."""
    log = cell.beside(folder, LOG)
    if fcntl is None or not log.is_file():
        return False
    with log.open("a") as output:
        try:
            fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False  # some network file systems have no locks
    return False


@contextlib.contextmanager
def _marked(output: TextIO) -> Iterator[None]:
    """Lock a log, which stays locked for as long as the process that inherits it is alive, from its first moment on."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield


def arguments_of(cell: Cell, folder: Path) -> list[str]:
    """What `nfft finetune` is given to run a cell in the folder of all, or to go on with it."""
    place = folder / cell.name
    start = ["--model", str(folder / cell.start.name)] if cell.start is not None else []
    resume = ["--resume"] if has_run(place) else []
    return [*cell.arguments, *start, "--output-dir", str(place), *resume]


def _wait(process: subprocess.Popen, stop_requested: Callable[[], bool]) -> None:
    """Wait for a run to end, by itself or, when a stop is asked for, after its step."""
    told = False
    while process.poll() is None:
        if stop_requested() and not told:
            process.terminate()
            told = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
