"""Many runs, each in a process and a folder of its own: what is there is not run again, what fails stops no other.

Several processes, on one machine or on more that share the folder, may work on the same grid: each takes a run that no
other is at.
"""

import json
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

from nfft.config.overrides import read_config
from nfft.config.registry import task as find_task
from nfft.config.study import Study
from nfft.errors import UserError
from nfft.experiments.cells import CELL, FAILED, LOCK, Cell, Changes, Failed, tasks_of
from nfft.experiments.process import POLL_SECONDS, is_running, run_process
from nfft.files import locked, make_folder, read_json, remove_unfinished, write_json, write_text
from nfft.runs.folder import RUN, is_held
from nfft.runs.record import check_version
from nfft.runs.records import Results

# Runs a cell in the folder of all, until it ends or a stop is asked for; returns the last thing it said.
RunCell = Callable[[Cell, Path, Callable[[], bool]], str]


def check_cells(cells: Sequence[Cell], folder: Path) -> None:
    """See that what is in the folder is of these cells.

    Raises:
        UserError: when a folder holds a run of other arguments, one that started from such a run, or one that a newer
            nfft has written.
    """
    for cell in cells:
        place = folder / cell.name
        if not place.exists():
            continue
        try:
            before = read_json(cell.beside(folder, CELL))
        except (OSError, ValueError):
            before = None
        if before != cell.described():
            raise UserError(f"{place} holds a run of other settings. Choose another --output-dir, or delete it.")
        # What is damaged is mended by its run, or run again.
        with suppress(OSError, ValueError):
            check_version(read_json(place / RUN), place)


def check_models(cells: Sequence[Cell], folder: Path) -> None:
    """See that the checkpoints that runs start from can be had, before the first of many; those of the Hub are fetched.

    Raises:
        UserError: as `nfft finetune` would.
    """
    left = [cell.config for cell in cells if cell.start is None and not cell.is_done(folder)]
    if not left:
        return
    # It takes torch and timm, which whoever mistypes something else is not to wait for.
    from nfft.models.resolve import find_checkpoint, find_teacher

    models = {(config.model, json.dumps(dict(config.model_args), sort_keys=True)): config for config in left}
    for config in models.values():
        find_checkpoint(config.model, dict(config.model_args))
    for teacher in {config.teacher for config in left if config.teacher is not None}:
        find_teacher(teacher)


def check_shots(cells: Sequence[Cell], folder: Path) -> None:
    """See that the data have the images that runs are to draw, before the first of many; all are of one task.

    Raises:
        UserError: as `nfft finetune` would.
    """
    left = [cell.config for cell in cells if cell.config.shots is not None and not cell.is_done(folder)]
    if left:
        from nfft.training import plan

        plan.check_shots(max(left, key=lambda config: config.shots or 0))


def check_study(study: Study, cells: Sequence[Cell], changes: Changes) -> None:
    """See that what the runs name exists, before the first of many.

    Raises:
        UserError: as `nfft finetune` would.
    """
    for name in sorted(tasks_of(study)):
        try:
            find_task(changes.tasks.get(name, name))
        except UserError as error:
            raise UserError(f"{error} Say where the images are: --data {name}=FOLDER.") from error
    for cell in cells:
        config = read_config(cell.config)
        if study.weights == "ema" and "ema_decay" in config.changes and config.changes["ema_decay"] is None:
            raise UserError(f"{cell.name} averages no weights, which are what the study's table is of.")


def run_all(
    cells: Sequence[Cell],
    folder: Path,
    say: Callable[[str], None],
    stop_requested: Callable[[], bool],
    run: RunCell = run_process,
) -> list[Failed]:
    """Run the cells that are not done, in order, and wait for those that another process is at.

    What failed before is tried again after all others; what fails in another process meanwhile is not.

    Args:
        cells: with each one that another starts from.
        say: is told a line about each.
        stop_requested: polled all the time; once it says yes, the run that is under way saves itself, and no other
            begins.
        run: how each is run.
    """
    failed: list[Failed] = []
    spent: list[float] = []
    before = {cell.name: _stamp(cell, folder) for cell in cells}
    left = [cell for cell in cells if not cell.is_done(folder)]
    left.sort(key=lambda cell: before[cell.name] is not None)
    if len(left) < len(cells):
        say(f"{len(cells) - len(left)} of {len(cells)} runs are done already")
    while left and not stop_requested():
        began = time.monotonic()
        lately = {cell.name for cell in cells if _stamp(cell, folder) not in (None, before[cell.name])}
        first = _run_first(left, folder, lately, stop_requested, run)
        if first is None:
            time.sleep(POLL_SECONDS)
            continue
        if stop_requested():
            break
        cell, said = first
        left.remove(cell)
        spent.append(time.monotonic() - began)
        if cell.is_done(folder):
            say(_outcome(cell, cell.results(folder), spent, len(left)))
            continue
        failed.append(Failed(cell, said))
        note = cell.beside(folder, FAILED)
        make_folder(note.parent)
        write_text(note, said)
        say(f"{cell.name}: failed: {said}")
    return failed


def _run_first(
    left: Sequence[Cell], folder: Path, lately: Collection[str], stop_requested: Callable[[], bool], run: RunCell
) -> tuple[Cell, str] | None:
    """Run the first cell that can be, and return it with the last thing it said.

    None where every one that is left is at work in another process, or starts from one that is.

    Args:
        lately: what has failed since these began to be run, here or in another process.
    """
    for cell in left:
        if cell.name in lately and (reason := cell.failure(folder)) is not None:
            return cell, reason
        if cell.start is not None and cell.start.name in lately:
            return cell, f"what it starts from, {cell.start.name}, failed"
        if cell.start is not None and not cell.start.is_done(folder):
            continue
        lock = cell.beside(folder, LOCK)
        make_folder(lock.parent)
        with locked(lock) as mine:
            # A run outlives a study that is killed.
            if not mine or is_held(folder / cell.name) or is_running(cell, folder):
                continue
            # Another process may have ended it a moment ago.
            if cell.is_done(folder):
                return cell, ""
            ours = {cell.beside(folder, ending).name for ending in (CELL, FAILED)}
            remove_unfinished(lock.parent, ours.__contains__)
            write_json(cell.beside(folder, CELL), cell.described())
            cell.beside(folder, FAILED).unlink(missing_ok=True)
            return cell, run(cell, folder, stop_requested)
    return None


def _stamp(cell: Cell, folder: Path) -> int | None:
    """When it failed; None where it did not."""
    try:
        return cell.beside(folder, FAILED).stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _outcome(cell: Cell, results: Results, spent: Sequence[float], left: int) -> str:
    """A line for people about a run that is done."""
    scores = results.quoted
    minutes = sum(spent) / len(spent) * left / 60
    more = f" ({left} left, about {minutes:.0f} min)" if left else ""
    return f"{cell.name}: {scores.split} top-1 {scores.top1:.2%}, {spent[-1]:.0f} s{more}"
