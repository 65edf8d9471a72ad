"""A run as others see it: its card, scores on other data that are added to it, and its way to the Hub."""

import datetime
import hashlib
import shlex
from pathlib import Path

from nfft.config.run_config import PACKAGED
from nfft.errors import UserError
from nfft.files import make_folder, write_bytes, write_text
from nfft.hub.upload import card_on_hub, check_repository, push_folder
from nfft.models.checkpoint import ADAPTER, open_checkpoint
from nfft.reporting.card_merge import is_edited
from nfft.reporting.card_metadata import eval_results, hub_id
from nfft.reporting.model_card import render_card
from nfft.runs.folder import (
    CARD,
    EVAL_RESULTS,
    NETWORK,
    REPLACED_CARD,
    RESULTS,
    SHARED,
    hold_run,
    read_evaluations,
    read_push,
    read_results,
    read_run,
    write_evaluations,
    write_push,
)
from nfft.runs.records import AddedEvaluation, PushRecord, Results


def push_run(
    folder: Path, repository: str, *, private: bool | None, revision: str | None, create_pr: bool
) -> list[str]:
    """Put a run's network, card, results and plots into a repository; returns lines that say so.

    Raises:
        UserError: when something is missing or the Hub cannot be reached; it says how to push later.
    """
    check_repository(repository, revision, create_pr)
    run = read_run(folder)
    is_adapter = run.method.artifact == "adapter"
    weights = "adapter_model.safetensors" if is_adapter else "model.safetensors"
    for needed in (weights, "config.json", RESULTS):
        if not (folder / needed).is_file():
            raise UserError(f"{folder} has no {needed}: the run has not ended. Go on with it first (--resume).")
    if is_adapter:
        check_base(open_checkpoint(str(folder), folder).config.get(ADAPTER, {}).get("base"), str(folder))
    card = folder / CARD
    before, copies = card.read_bytes() if card.is_file() else None, _replaced_cards(folder)
    later = shlex.join(["nfft", "push", str(folder), repository, *_flags(private, revision, create_pr)])
    try:
        _check_card_there(folder, repository, revision)
        lines = write_card(folder, repository)
        address = push_folder(
            folder,
            repository,
            files=SHARED,
            replaced=NETWORK,
            private=private,
            revision=revision,
            create_pr=create_pr,
            message=f"{run.model.name} fine-tuned on {run.task.name}",
        )
    except UserError as error:
        if before is not None and card.read_bytes() != before:
            write_bytes(card, before)
        for copy in _replaced_cards(folder) - copies:
            copy.unlink()
        raise UserError(f"{error} Nothing is lost: the run is whole in {folder}. To push it later: {later}") from error
    # By the card that is there now, a change of it on the Hub can be told from one of ours.
    cards = [*read_push(folder).cards, _hash_of_card(folder)]
    write_push(folder, PushRecord(repository=repository, cards=tuple(dict.fromkeys(cards))))
    return [*lines, f"pushed to   {address}"]


def check_base(base: str | None, folder: str) -> None:
    """See that others can have the network that the adapter in a run's folder changes.

    Args:
        base: its name on the Hub, or its folder.
    """
    if base != PACKAGED and hub_id(base) is None:
        raise UserError(
            f"{folder} is an adapter for {base}, a folder that is only here. Push that, and train on its name on the "
            f"Hub; or share all in one: `nfft merge {folder} merged`, and AutoNFNet's push_to_hub."
        )


def _check_card_there(folder: Path, repository: str, revision: str | None) -> None:
    """See that the repository's card is one of this run's: what was written there by hand must not be lost."""
    there = card_on_hub(repository, revision)
    if there is None or _hash(there) in (*read_push(folder).cards, _hash_of_card(folder)):
        return
    raise UserError(
        f"{repository} has a card that was changed there, or is not this run's. Save it as {folder / CARD}, and "
        "the sections that were written by hand will stay; or delete it there."
    )


def _hash_of_card(folder: Path) -> str | None:
    file = folder / CARD
    return _hash(file.read_text(encoding="utf-8")) if file.is_file() else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _flags(private: bool | None, revision: str | None, create_pr: bool) -> list[str]:
    return [
        *(["--private"] if private else []),
        *(["--revision", revision] if revision else []),
        *(["--create-pr"] if create_pr else []),
    ]


def write_card(folder: Path, repository: str | None = None, *, results: Results | None = None) -> list[str]:
    """README.md and, for data of the Hub, .eval_results/: from the run's facts, its hand-written sections kept.

    Args:
        repository: what the card calls the network; where it was pushed to, when absent.
        results: of a run that has yet to write results.json, which it does last.

    Returns:
        A line when generated text had been edited by hand: the old card is then kept beside the new one.
    """
    run, results, notes = read_run(folder), results or read_results(folder), []
    file = folder / CARD
    try:
        earlier = file.read_text(encoding="utf-8") if file.is_file() else None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8: save it so, or move it away.") from error
    name = repository or read_push(folder).repository
    text = render_card(run, results, repository=name, evaluations=read_evaluations(folder), earlier=earlier)
    if earlier is not None and earlier != text and is_edited(earlier):
        copy = _free_name(folder)
        write_text(copy, earlier)
        notes.append(f"kept        {copy}: the old card, whose generated text had been edited by hand")
    write_text(file, text)
    scored = eval_results(run, results)
    if scored is not None:
        make_folder((folder / EVAL_RESULTS).parent)
        write_text(folder / EVAL_RESULTS, scored)
    return notes


def _free_name(folder: Path) -> Path:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    return folder / REPLACED_CARD.format(now)


def _replaced_cards(folder: Path) -> set[Path]:
    return set(folder.glob(REPLACED_CARD.format("*")))


def add_evaluation(folder: Path, evaluation: AddedEvaluation) -> list[str]:
    """Add scores on other data to a run and its card; those of the same data, split and resolution give way.

    Raises:
        UserError: when another process is at work on the run: what that adds would be lost.
    """

    def key(entry: AddedEvaluation) -> tuple:
        return entry.task.name, entry.task.source_hash, entry.scores.split, entry.scores.resolution

    read_run(folder)
    with hold_run(folder):
        others = [entry for entry in read_evaluations(folder) if key(entry) != key(evaluation)]
        write_evaluations(folder, [*others, evaluation])
        return write_card(folder)
