"""Many runs, each in a process and a folder of its own: what is there is not run again, what fails stops no other."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfft.errors import UserError
from nfft.files import write_json

CELL = "cell.json"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        name: of its folder, below the grid's.
        arguments: of `nfft finetune`, without the folder.
    """

    name: str
    arguments: tuple[str, ...]

    def results(self, folder: Path) -> dict[str, Any] | None:
        """What came out, if the run is done."""
        file = folder / self.name / "results.json"
        return json.loads(file.read_text()) if file.is_file() else None

    def facts(self, folder: Path) -> dict[str, Any]:
        """What was run: its run.json."""
        return json.loads((folder / self.name / "run.json").read_text())


@dataclass(frozen=True)
class Failed:
    """A run that ended without results, and the last thing it said."""

    cell: Cell
    reason: str


def run(
    cells: Sequence[Cell], folder: Path, say: Callable[[str], None], stop_requested: Callable[[], bool]
) -> list[Failed]:
    """Run the cells that are not done, in order.

    Args:
        say: is told a line about each.
        stop_requested: polled all the time; once it says yes, the run that is under way saves itself, and no other
            begins.

    Raises:
        UserError: when a folder holds a run of other arguments, before any is run.
    """
    for cell in cells:
        _check(cell, folder)
    failed, spent = [], []
    left = [cell for cell in cells if cell.results(folder) is None]
    if len(left) < len(cells):
        say(f"{len(cells) - len(left)} of {len(cells)} runs are done already")
    for number, cell in enumerate(left, start=1):
        began = time.monotonic()
        reason = _run(cell, folder, stop_requested)
        if stop_requested():
            break
        results = cell.results(folder)
        if results is None:
            failed.append(Failed(cell, reason))
            say(f"{cell.name}: failed: {reason}")
            continue
        spent.append(time.monotonic() - began)
        scores = results["test"] or results["validation"]
        minutes = sum(spent) / len(spent) * (len(left) - number) / 60
        more = f" ({number} of {len(left)}, about {minutes:.0f} min left)" if number < len(left) else ""
        say(f"{cell.name}: {scores['split']} top-1 {scores['top1']:.2%}, {spent[-1]:.0f} s{more}")
    return failed


def _check(cell: Cell, folder: Path) -> None:
    place = folder / cell.name
    if not place.exists():
        return
    try:
        before = json.loads((place.parent / f"{place.name}.{CELL}").read_text())["arguments"]
    except (OSError, ValueError, KeyError, TypeError):
        before = None
    if before != list(cell.arguments):
        raise UserError(f"{place} holds a run of other settings. Choose another --output-dir, or delete it.")


def _run(cell: Cell, folder: Path, stop_requested: Callable[[], bool]) -> str:
    """Run or go on with a cell, what it prints in a file beside its folder; returns the last line of that."""
    place = folder / cell.name
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place.parent / f"{place.name}.{CELL}", {"arguments": list(cell.arguments)})
    log = place.parent / f"{place.name}.log"
    resume = ["--resume"] if (place / "run.json").is_file() else []
    # -P: a folder called nfft where the command is given is not to be taken for the package.
    command = [sys.executable, "-P", "-m", "nfft.cli", "finetune", *cell.arguments, "--output-dir", str(place), *resume]
    # In a session of its own, it hears of an interruption from here alone, and once.
    with (
        log.open("a") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True) as process,
    ):
        try:
            _wait(process, stop_requested)
        except BaseException:
            process.kill()
            raise
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return said[-1] if said else f"it ended with status {process.returncode} and said nothing"


def _wait(process: subprocess.Popen, stop_requested: Callable[[], bool]) -> None:
    """Wait for a run to end, by itself or, when a stop is asked for, after its step."""
    told = False
    while process.poll() is None:
        if stop_requested() and not told:
            process.terminate()
            told = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
