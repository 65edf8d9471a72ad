"""The run folder: one run lives there, described by run.json; every file is written whole and renamed."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from nfft.config.recipe import Recipe
from nfft.errors import UserError
from nfft.files import locked, write_json, write_text
from nfft.runs.record import Record, check_version, read_record, read_records
from nfft.runs.records import AddedEvaluation, Metrics, PushRecord, Results, RunRecord, Skipped, metrics_from_json

RUN, RESULTS, METRICS, SKIPPED = "run.json", "results.json", "metrics.jsonl", "skipped.jsonl"
# A network, or an adapter, as others load it.
NETWORK = ("config.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors")
CARD, CURVES, CONFUSION = "README.md", "curves.png", "confusion.png"
# A card that was replaced, by when that was.
REPLACED_CARD = "README.{}.md"
# What is added later: scores on other data, and where the run was put.
EVALUATIONS, PUSHED, EVAL_RESULTS = "evaluations.json", "pushed.json", ".eval_results/nfft.yaml"
# Folders to go on from: states of the optimizer, and features of a probe.
CHECKPOINTS, FEATURES = "checkpoints", "features"
LOCK = ".lock"
# What of a run folder is shared: nothing of the optimizer's, and no path of anyone's machine.
SHARED = (*NETWORK, CARD, RESULTS, RUN, EVALUATIONS, CURVES, CONFUSION, EVAL_RESULTS)


# Start, go on, keep others away


def check_folder(folder: Path, *, resume: bool) -> None:
    """See that a run can start, or go on, in `folder`, before any work is done.

    Raises:
        UserError: when it holds another run (without `resume`) or none that can go on (with it), or cannot be written.
    """
    if resume:
        if not (folder / RUN).is_file():
            raise UserError(f"--resume: there is no run in {folder}. Leave --resume out to start one.")
        _read_started(folder)
    if not resume and folder.is_dir() and {path.name for path in folder.iterdir()} - {LOCK}:
        what = "already holds a run" if (folder / RUN).is_file() else "is not empty"
        raise UserError(
            f"the folder {folder} {what}. Continue it with --resume, choose another --output-dir, or delete it."
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"the run folder {folder} is a file. Choose another --output-dir.")
    standing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not (standing.is_dir() and os.access(standing, os.W_OK)):
        raise UserError(
            f"the run folder {folder} cannot be made: {standing} is "
            f"{'not writable' if standing.is_dir() else 'a file'}. Choose another --output-dir."
        )


def start_run(folder: Path, run: RunRecord, skipped: Sequence[Skipped]) -> None:
    """Begin the run in the folder that is held, with run.json and skipped.jsonl.

    Raises:
        UserError: when another run has been there since this one looked first.
    """
    check_folder(folder, resume=False)
    write_run(folder, run)
    write_text(folder / SKIPPED, _as_lines(skipped))


@contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Keep other processes from working on the run in `folder`, which is made where there is none.

    Raises:
        UserError: when one does already.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the run folder {folder} cannot be made: {error.strerror}. Choose another --output-dir."
        ) from error
    with locked(folder / LOCK) as mine:
        if not mine:
            raise UserError(f"another process is at work on the run in {folder}. Wait for it, or stop it.")
        yield
        (folder / LOCK).unlink(missing_ok=True)


def is_held(folder: Path) -> bool:
    """Whether another process is at work on the run in `folder`."""
    if not (folder / LOCK).exists():
        return False
    with locked(folder / LOCK) as mine:
        return not mine


def saved_setting(folder: Path, name: str) -> Any:
    """A setting of the recipe that the run in `folder` was started with; None where it cannot be told."""
    try:
        return read_run(folder).recipe.settings.get(name)
    except UserError:
        return None


def resume_run(folder: Path, run: RunRecord) -> tuple[RunRecord, list[str]]:
    """The run as it was started, after seeing that what decides the result is the same now.

    Args:
        run: as it would be started now.

    Returns:
        run.json, and lines about differences that only rounding can show.

    Raises:
        UserError: naming each difference.
    """
    started = _read_started(folder)
    before, now = started.decisive(), run.decisive()
    # A run of an older release has nothing of settings that came later, and was as they are by default.
    defaults = {setting.name: setting.default for setting in fields(Recipe) if setting.default is not MISSING}
    before = {**{name: value for name, value in defaults.items() if name in now}, **before}
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if changed:
        listed = "; ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in changed)
        raise UserError(f"--resume: the run in {folder} was started with other settings: {listed}. Use the same ones.")
    if started.threads != run.threads:
        return started, [
            f"it ran on {started.threads} threads, now on {run.threads}: sums will differ in their last bits "
            f"(OMP_NUM_THREADS={started.threads} keeps them)"
        ]
    return started, []


def _read_started(folder: Path) -> RunRecord:
    """run.json, for a run that is to go on."""
    try:
        content = json.loads((folder / RUN).read_text(encoding="utf-8"))
        check_version(content, folder)
        return RunRecord.from_json(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"--resume: {folder / RUN} is damaged or not a run's. Start anew in another folder.") from error


# File by file


def write_run(folder: Path, run: RunRecord) -> None:
    write_json(folder / RUN, run.to_json())


def read_run(folder: Path) -> RunRecord:
    """What was run.

    Raises:
        UserError: as each of these functions: for a file that is not there, is damaged, or is of a newer nfft.
    """
    return read_record(RunRecord, folder / RUN)


def write_results(folder: Path, results: Results) -> None:
    write_json(folder / RESULTS, results.to_json())


def read_results(folder: Path) -> Results:
    """What came out; only run.json beside it says which nfft has written it."""
    read_run(folder)
    return read_record(Results, folder / RESULTS)


def read_metrics(folder: Path) -> list[Metrics]:
    """The lines of metrics.jsonl; a last one torn by a kill is left out."""
    file, metrics = folder / METRICS, []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else []:
        try:
            metrics.append(metrics_from_json(json.loads(line)))
        except (ValueError, RecursionError):
            break
    return metrics


def read_skipped(folder: Path) -> list[Skipped]:
    """Images that could not be read."""
    return read_records(Skipped.from_json, folder / SKIPPED)


def add_skipped(folder: Path, skipped: Sequence[Skipped]) -> None:
    """Add images that could not be read after all, each once."""
    noted = {(line.split, line.image) for line in read_skipped(folder)}
    with (folder / SKIPPED).open("a", encoding="utf-8") as file:
        for line in skipped:
            if (line.split, line.image) not in noted:
                noted.add((line.split, line.image))
                file.write(_as_lines([line]))


def write_evaluations(folder: Path, evaluations: Sequence[AddedEvaluation]) -> None:
    write_json(folder / EVALUATIONS, [evaluation.to_json() for evaluation in evaluations])


def read_evaluations(folder: Path) -> list[AddedEvaluation]:
    """Scores on other data that were added to the run, oldest first."""
    return read_records(AddedEvaluation.from_json, folder / EVALUATIONS) if (folder / EVALUATIONS).is_file() else []


def write_push(folder: Path, push: PushRecord) -> None:
    write_json(folder / PUSHED, push.to_json())


def read_push(folder: Path) -> PushRecord:
    """Where the run was pushed to last, if it ever was."""
    return read_record(PushRecord, folder / PUSHED) if (folder / PUSHED).is_file() else PushRecord()


def _as_lines(records: Sequence[Record]) -> str:
    return "".join(json.dumps(record.to_json(), ensure_ascii=False) + "\n" for record in records)
