"""The run folder: one run lives there, described by run.json; every file is written whole and renamed.

results.json is the last: where it is, the run has ended, and all else of it is there.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from nfft.config.recipe import Recipe
from nfft.errors import UserError
from nfft.files import (
    check_writable,
    decode_json,
    finished_name,
    is_locked,
    locked,
    make_folder,
    read_json,
    remove_unfinished,
    write_json,
    write_text,
)
from nfft.runs.record import Record, check_version, read_record, read_records
from nfft.runs.records import AddedEvaluation, Metrics, PushRecord, Results, RunRecord, Skipped, metrics_from_json

RUN, RESULTS, METRICS, SKIPPED = "run.json", "results.json", "metrics.jsonl", "skipped.jsonl"
# A network, or an adapter, as others load it.
NETWORK = (
    "config.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors", "stage_head.safetensors",
)  # fmt: skip
CARD, CURVES, CONFUSION = "README.md", "curves.png", "confusion.png"
# A card that was replaced, by when that was.
REPLACED_CARD = "README.{}.md"
# What is added later: scores on other data, and where the run was put.
EVALUATIONS, PUSHED, EVAL_RESULTS = "evaluations.json", "pushed.json", ".eval_results/nfft.yaml"
# Folders to go on from: states of the optimizer, and features of a probe.
CHECKPOINTS, FEATURES = "checkpoints", "features"
# A checkpoint's folder, by the step; what a step's is called while it is written; and its facts.
STEP, STEP_UNFINISHED, FACTS = re.compile(r"step-(\d{8,})"), re.compile(r"\.step-\d{8,}\.\d+"), "state.json"
LOCK = ".lock"
# What is there before anything of the run's outcome is.
BEGINNINGS = {RUN, METRICS, SKIPPED, CHECKPOINTS, FEATURES, LOCK}
WRITTEN = {RUN, RESULTS, METRICS, SKIPPED, *NETWORK, CARD, CURVES, CONFUSION, EVALUATIONS, PUSHED}
# What of a run folder is shared: nothing of the optimizer's, and no path of anyone's machine.
SHARED = (*NETWORK, CARD, RESULTS, RUN, EVALUATIONS, CURVES, CONFUSION, EVAL_RESULTS)


# Start, go on, keep others away


def check_folder(folder: Path, *, resume: bool) -> None:
    """See that a run can start, or go on, in `folder`, before any work is done.

    Raises:
        UserError: when it holds another run (without `resume`) or none that can go on (with it), or cannot be written.
    """
    if resume:
        if not _has_begun(folder):
            raise UserError(f"--resume: there is no run in {folder}. Leave --resume out to start one.")
        read_started(folder)
    if not resume and folder.is_dir() and _content_of(folder):
        what = "already holds a run" if (folder / RUN).is_file() else "is not empty"
        raise UserError(
            f"the folder {folder} {what}. Continue it with --resume, choose another --output-dir, or delete it."
        )
    if folder.exists() and not folder.is_dir():
        raise UserError(f"the run folder {folder} is a file. Choose another --output-dir.")
    standing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not standing.is_dir():
        raise UserError(f"the run folder {folder} cannot be made: {standing} is a file. Choose another --output-dir.")
    try:
        check_writable(standing / RUN, "")
    except UserError as error:
        raise UserError(
            f"the run folder {folder} cannot be made: {standing} is not writable. Choose another --output-dir."
        ) from error


def _content_of(folder: Path) -> set[str]:
    """Names of what is in a folder, but for the lock and what a process that was killed had not finished."""
    return {path.name for path in folder.iterdir() if path.name != LOCK and not _is_unfinished(path.name)}


def _is_unfinished(name: str) -> bool:
    finished = finished_name(name)
    # The second is what safetensors calls a file of its own while it writes it.
    return (finished is not None and _is_written(finished)) or re.fullmatch(r"\.tmp\w{6}", name) is not None


def _is_written(name: str) -> bool:
    return name in WRITTEN or re.fullmatch(REPLACED_CARD.format(r"[\d-]+"), name) is not None


def _has_begun(folder: Path) -> bool:
    """Whether a process has been at a run here, however early it was killed."""
    return folder.is_dir() and any(path.name in BEGINNINGS or _is_unfinished(path.name) for path in folder.iterdir())


def has_run(folder: Path) -> bool:
    """Whether there is a run in `folder`, begun or ended, to go on with."""
    return folder.is_dir() and any((folder / name).exists() for name in BEGINNINGS - {LOCK})


def has_ended(folder: Path) -> bool:
    """Whether the run in `folder` has come to its end: a results.json or run.json that is cut is as good as none."""
    try:
        for name in (RUN, RESULTS):
            read_json(folder / name)
    except (OSError, ValueError):
        return False
    return True


def start_run(folder: Path, run: RunRecord, skipped: Sequence[Skipped]) -> None:
    """Begin the run in the folder that is held, with run.json and skipped.jsonl.

    Raises:
        UserError: when another run has been there since this one looked first.
    """
    check_folder(folder, resume=False)
    _begin(folder, run, skipped)


def _begin(folder: Path, run: RunRecord, skipped: Sequence[Skipped]) -> None:
    write_run(folder, run)
    write_text(folder / SKIPPED, _as_lines(skipped))


@contextmanager
def hold_run(folder: Path) -> Iterator[None]:
    """Keep other processes from working on the run in `folder`, which is made where there is none.

    What earlier ones that were killed had not finished is deleted. A folder that is new and stays empty goes again.

    Raises:
        UserError: when one does already.
    """
    try:
        made = make_folder(folder)
    except OSError as error:
        raise UserError(
            f"the run folder {folder} cannot be made: {error.strerror}. Choose another --output-dir."
        ) from error
    try:
        with locked(folder / LOCK) as mine:
            if not mine:
                raise UserError(f"another process is at work on the run in {folder}. Wait for it, or stop it.")
            _clean(folder)
            yield
    finally:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir()


def _clean(folder: Path) -> None:
    """Delete what a process had not finished when it was killed; nobody else is at work here."""
    for path in folder.iterdir():
        if _is_unfinished(path.name):
            path.unlink(missing_ok=True)
    remove_unfinished((folder / EVAL_RESULTS).parent, lambda name: name == Path(EVAL_RESULTS).name)
    remove_unfinished(folder / FEATURES, lambda name: name.endswith(".json"))
    remove_unfinished(folder / CHECKPOINTS, lambda name: name.endswith(".safetensors"))
    earlier = [path for path in folder.iterdir() if re.fullmatch(r"\.saving-\w{8}", path.name)]  # of release 0.2
    checkpoints = folder / CHECKPOINTS
    steps = [*checkpoints.iterdir()] if checkpoints.is_dir() else []
    for path in [*earlier, *(path for path in steps if STEP_UNFINISHED.fullmatch(path.name))]:
        shutil.rmtree(path, ignore_errors=True)


def is_held(folder: Path) -> bool:
    """Whether another process is at work on the run in `folder`."""
    return is_locked(folder / LOCK)


def started_as(folder: Path) -> RunRecord | None:
    """The run in `folder` as it was started; None where it cannot be told."""
    try:
        return read_started(folder)[0]
    except UserError:
        return None


def resume_run(
    folder: Path, run: RunRecord, skipped: Sequence[Skipped] = (), *, mends: bool = True
) -> tuple[RunRecord, list[str]]:
    """The run as it was started, after seeing that what decides the result is the same now.

    A run.json that was lost is written again, as the last checkpoint has it; where there is none, as it is now.

    Args:
        run, skipped: as it would be started now.
        mends: write what was lost; one process of those that share the run does.

    Returns:
        run.json, and lines about what was lost, and about differences that only rounding can show.

    Raises:
        UserError: naming each difference.
    """
    started, is_lost = read_started(folder)
    if started is None:
        if mends:
            _begin(folder, run, skipped)
        return run, ["it was ended before its first file was whole: nothing had been saved"]
    before, now = started.decisive(), run.decisive()
    # A run of an older release has nothing of settings that came later, and was as they are by default.
    defaults = {setting.name: setting.default for setting in fields(Recipe) if setting.default is not MISSING}
    before = {**{name: value for name, value in defaults.items() if name in now}, **before}
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if changed:
        listed = "; ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in changed)
        raise UserError(f"--resume: the run in {folder} was started with other settings: {listed}. Use the same ones.")
    notes = []
    if is_lost:
        notes.append(f"{folder / RUN} was lost or damaged: it is what the last checkpoint says again")
    if mends and is_lost:
        write_run(folder, started)
    if mends:
        _mend_skipped(folder, skipped)
    if started.threads != run.threads:
        notes.append(
            f"it ran on {started.threads} threads, now on {run.threads}: sums will differ in their last bits "
            f"(OMP_NUM_THREADS={started.threads} keeps them)"
        )
    return started, notes


def _mend_skipped(folder: Path, skipped: Sequence[Skipped]) -> None:
    """Write skipped.jsonl again where it is lost or damaged, as of a run that starts now."""
    try:
        read_skipped(folder)
    except UserError:
        write_text(folder / SKIPPED, _as_lines(skipped))


def read_started(folder: Path) -> tuple[RunRecord | None, bool]:
    """run.json, for a run that is to go on, and whether that had to be found elsewhere.

    Returns:
        The record, out of the last checkpoint that has it where run.json is lost or damaged; None for a run that was
        killed so early that there is nothing to lose.

    Raises:
        UserError: when it is damaged, and nothing else has it.
    """
    content: Any = None
    is_torn = True
    try:
        with suppress(FileNotFoundError):
            content = read_json(folder / RUN)
            is_torn = False
            check_version(content, folder)
            return RunRecord.from_json(content), False
    except ValueError as error:
        # What was cut is not deep.
        is_torn = is_torn and not isinstance(error.__cause__, RecursionError)
    if (kept := _record_of_checkpoint(folder)) is not None:
        return kept, True
    if is_torn and _content_of(folder) <= BEGINNINGS and not steps_in(folder / CHECKPOINTS):
        return None, True
    raise UserError(f"--resume: {folder / RUN} is damaged or not a run's. Start anew in another folder.")


def steps_in(checkpoints: Path) -> list[Path]:
    """The folders of checkpoints, by step; what else lies there is none of ours."""
    found = [path for path in checkpoints.iterdir() if STEP.fullmatch(path.name)] if checkpoints.is_dir() else []
    return sorted((path for path in found if path.is_dir()), key=_step_of)


def _step_of(path: Path) -> int:
    match = STEP.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _record_of_checkpoint(folder: Path) -> RunRecord | None:
    """run.json as the newest checkpoint has it that can be read; those of earlier releases have none."""
    for path in reversed(steps_in(folder / CHECKPOINTS)):
        with suppress(OSError, ValueError, KeyError, TypeError):
            return RunRecord.from_json(read_json(path / FACTS)["run"])
    return None


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
    for line in file.read_bytes().split(b"\n") if file.is_file() else []:
        try:
            metrics.append(metrics_from_json(decode_json(line)))
        except ValueError:
            break
    return metrics


def read_skipped(folder: Path) -> list[Skipped]:
    """Images that could not be read."""
    return read_records(Skipped.from_json, folder / SKIPPED)


def add_skipped(folder: Path, skipped: Sequence[Skipped]) -> None:
    """Add images that could not be read after all, each once."""
    lines = read_skipped(folder)
    noted = {(line.split, line.image) for line in lines}
    for line in skipped:
        if (line.split, line.image) not in noted:
            noted.add((line.split, line.image))
            lines.append(line)
    write_text(folder / SKIPPED, _as_lines(lines))


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
