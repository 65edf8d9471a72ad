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
from nfft.runs.records import RunRecord, Skipped, check_version

RUN, RESULTS, SKIPPED, LOCK = "run.json", "results.json", "skipped.jsonl", ".lock"
# What a run leaves for others to load: a network, or an adapter.
NETWORK = ("config.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors")
# What of a run folder is shared: nothing of the optimizer's, and no path of anyone's machine.
SHARED = (
    *NETWORK, "README.md", RESULTS, RUN, "evaluations.json", "curves.png", "confusion.png", ".eval_results/*.yaml",
)  # fmt: skip


def check_folder(folder: Path, *, resume: bool) -> None:
    """See that a run can start, or go on, in `folder`, before any work is done.

    Raises:
        UserError: when it holds another run (without `resume`) or none (with it), or cannot be written.
    """
    if resume and not (folder / RUN).is_file():
        raise UserError(f"--resume: there is no run in {folder}. Leave --resume out to start one.")
    if not resume and folder.is_dir() and {each.name for each in folder.iterdir()} - {LOCK}:
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


def start_run(folder: Path, record: RunRecord, skipped: Sequence[Skipped]) -> None:
    """Begin the run in the folder that is held, with run.json and skipped.jsonl.

    Raises:
        UserError: when another run has been there since this one looked first.
    """
    check_folder(folder, resume=False)
    write_json(folder / RUN, record.to_json())
    write_text(folder / SKIPPED, "".join(json.dumps(line.to_json(), ensure_ascii=False) + "\n" for line in skipped))


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
        return json.loads((folder / RUN).read_text(encoding="utf-8"))["recipe"]["settings"].get(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def resume_run(folder: Path, record: RunRecord) -> tuple[RunRecord, list[str]]:
    """The run as it was started, after seeing that what decides the result is the same now.

    Returns:
        run.json, and lines about differences that only rounding can show.

    Raises:
        UserError: naming each difference.
    """
    try:
        content = json.loads((folder / RUN).read_text(encoding="utf-8"))
        check_version(content, folder)
        saved = RunRecord.from_json(content)
    except ValueError as error:
        raise UserError(f"--resume: {folder / RUN} is damaged or not a run's. Start anew in another folder.") from error
    before, now = saved.decisive(), record.decisive()
    # A run of an older release has nothing of settings that came later, and was as they are by default.
    defaults = {each.name: each.default for each in fields(Recipe) if each.default is not MISSING}
    before = {**{name: value for name, value in defaults.items() if name in now}, **before}
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    if changed:
        listed = "; ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in changed)
        raise UserError(f"--resume: the run in {folder} was started with other settings: {listed}. Use the same ones.")
    if saved.threads != record.threads:
        return saved, [
            f"it ran on {saved.threads} threads, now on {record.threads}: sums will differ in their last bits "
            f"(OMP_NUM_THREADS={saved.threads} keeps them)"
        ]
    return saved, []
