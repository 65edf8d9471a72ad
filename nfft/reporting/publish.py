"""A run as others see it: its card, scores on other data that are added to it, and its way to the Hub."""

import datetime
import hashlib
import shlex
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypeVar

from nfft.config.run_config import PACKAGED
from nfft.errors import UserError
from nfft.files import fingerprint_of, make_folder, write_bytes, write_text
from nfft.hub.errors import Refused
from nfft.hub.upload import card_on_hub, check_repository, find_proposal, push_files
from nfft.models.checkpoint import ADAPTER, open_checkpoint
from nfft.reporting.card_merge import is_edited
from nfft.reporting.card_metadata import eval_results, hub_id
from nfft.reporting.model_card import render_card
from nfft.runs.folder import (
    CARD,
    CONFUSION,
    CURVES,
    EVAL_RESULTS,
    NETWORK,
    PUSHED,
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

T = TypeVar("T")


def push_run(
    folder: Path, repository: str, *, private: bool | None, revision: str | None, create_pr: bool
) -> list[str]:
    """Put a run's network, card, results and plots into a repository; returns lines that say so.

    Raises:
        UserError: when something is missing or the Hub cannot be reached; it says how to push later.
    """
    check_repository(repository, revision, create_pr)
    files = _shared_files(folder)
    run = read_run(folder)
    is_adapter = run.method.artifact == "adapter"
    weights = "adapter_model.safetensors" if is_adapter else "model.safetensors"
    for needed in (weights, "config.json", RESULTS):
        if needed not in files:
            raise UserError(f"{folder} has no {needed}: the run has not ended. Go on with it first (--resume).")
    config = open_checkpoint(str(folder), folder).config
    if is_adapter:
        check_base(config.get(ADAPTER, {}).get("base"), str(folder))
    before = read_push(folder)
    later = shlex.join(["nfft", "push", str(folder), repository, *_flags(private, revision, create_pr)])
    try:
        card = _new_card(folder, repository)
        asked, pushed = _intents(before, repository, _hash(card.text), create_pr)
        _check_card_there(folder, repository, revision, known=pushed.cards)
        lost = before.proposed.get(repository, ()) if create_pr else ()
        proposal = find_proposal(repository, lambda text: _hash(text) in lost) if lost else None
        # Should the Hub's answer be lost, the next push knows by this what there is this run's.
        write_push(folder, asked)
        address = push_files(
            {**files, **card.files},
            repository,
            replaced=NETWORK,
            private=private,
            revision=revision,
            create_pr=create_pr,
            message=f"{run.model.name} fine-tuned on {run.task.name}",
            proposal=proposal,
        )
    except UserError as error:
        if isinstance(error, Refused):
            _restore_push(folder, before)
        raise UserError(f"{error} Nothing is lost: the run is whole in {folder}. To push it later: {later}") from error
    lines = _put(folder, card)
    write_push(folder, pushed)
    known = ": the proposal of an earlier push, whose answer was lost; no second is made" if proposal else ""
    return [*lines, f"pushed to   {address}{known}"]


def _intents(before: PushRecord, repository: str, card: str, create_pr: bool) -> tuple[PushRecord, PushRecord]:
    """pushed.json while the Hub is asked to take a card, and once it has answered that it did."""
    pushed = replace(before, repository=repository, cards=_with(before.cards, card))
    asked = replace(pushed, repository=before.repository)
    if not create_pr:
        return asked, pushed
    others = {name: cards for name, cards in before.proposed.items() if name != repository}
    lost = _with(before.proposed.get(repository, ()), card)
    return replace(asked, proposed={**others, repository: lost}), replace(pushed, proposed=others)


def _with(cards: tuple[T, ...], card: T) -> tuple[T, ...]:
    return tuple(dict.fromkeys([*cards, card]))


def _shared_files(folder: Path) -> dict[str, Path]:
    """The files of a run that are shared, by their paths in it; card and `.eval_results/` are made anew for a push.

    Raises:
        UserError: for a link, or something else that no run leaves in such a place: it may be anyone's.
    """
    scored = folder / EVAL_RESULTS
    if scored.parent.is_symlink():
        _refuse_foreign(scored.parent, "a link")
    for path in sorted(scored.parent.iterdir()) if scored.parent.is_dir() else []:
        if path != scored and not path.name.startswith("."):
            _refuse_foreign(path, "nothing that a run writes")
    shared = {name: folder / name for name in SHARED}
    for path in shared.values():
        if path.is_symlink():
            _refuse_foreign(path, "a link")
        if path.exists() and not path.is_file():
            _refuse_foreign(path, "no file")
    for name in (CURVES, CONFUSION):
        if shared[name].is_file() and not _is_png(shared[name]):
            _refuse_foreign(shared[name], "no picture that a run draws")
    noted = (read_results(folder).files or {}) if shared[RESULTS].is_file() else {}
    for name, fingerprint in noted.items():
        if name in shared and shared[name].is_file() and fingerprint_of(shared[name]) != fingerprint:
            _refuse_foreign(shared[name], "not what the run wrote there")
    return {name: path for name, path in shared.items() if path.is_file() and name not in (CARD, EVAL_RESULTS)}


def _refuse_foreign(path: Path, what: str) -> NoReturn:
    raise UserError(f"{path} is {what}, and a push sends what the run wrote, alone. Move it away, and push again.")


def _is_png(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8) == b"\x89PNG\r\n\x1a\n"


def _restore_push(folder: Path, before: PushRecord) -> None:
    if before == PushRecord():
        (folder / PUSHED).unlink(missing_ok=True)
    else:
        write_push(folder, before)


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


def _check_card_there(folder: Path, repository: str, revision: str | None, known: Collection[str | None]) -> None:
    """See that the repository's card is one of this run's: what was written there by hand must not be lost.

    Args:
        known: hashes of cards that the run has had there, or will have.
    """
    there = card_on_hub(repository, revision)
    if there is None or _hash(there) in (*known, _hash_of_card(folder)):
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


@dataclass(frozen=True)
class _Card:
    """A card that is to be written.

    Attributes:
        text: of README.md.
        earlier: that of the card it replaces, if there is one.
        scored: the text of `.eval_results/nfft.yaml`, for data of the Hub.
    """

    text: str
    earlier: str | None
    scored: str | None

    @property
    def files(self) -> dict[str, bytes]:
        texts = {CARD: self.text, EVAL_RESULTS: self.scored}
        return {name: text.encode() for name, text in texts.items() if text is not None}


def write_card(folder: Path, repository: str | None = None, *, results: Results | None = None) -> list[str]:
    """README.md and, for data of the Hub, .eval_results/: from the run's facts, its hand-written sections kept.

    Args:
        repository: what the card calls the network; where it was pushed to, when absent.
        results: of a run that has yet to write results.json, which it does last.

    Returns:
        A line when generated text had been edited by hand: the old card is then kept beside the new one.
    """
    return _put(folder, _new_card(folder, repository, results))


def _new_card(folder: Path, repository: str | None, results: Results | None = None) -> _Card:
    run, results = read_run(folder), results or read_results(folder)
    file = folder / CARD
    try:
        earlier = file.read_text(encoding="utf-8") if file.is_file() else None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8: save it so, or move it away.") from error
    name = repository or read_push(folder).repository
    text = render_card(run, results, repository=name, evaluations=read_evaluations(folder), earlier=earlier)
    return _Card(text, earlier, eval_results(run, results))


def _put(folder: Path, card: _Card) -> list[str]:
    """Write a card; returns a line where the one before had been edited in what nfft wrote, and was kept."""
    notes = []
    if card.earlier is not None and card.earlier != card.text and is_edited(card.earlier):
        copy = _free_name(folder)
        write_text(copy, card.earlier)
        notes.append(f"kept        {copy}: the old card, whose generated text had been edited by hand")
    for name, content in card.files.items():
        make_folder((folder / name).parent)
        write_bytes(folder / name, content)
    return notes


def _free_name(folder: Path) -> Path:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    return folder / REPLACED_CARD.format(now)


def add_evaluation(folder: Path, evaluation: AddedEvaluation) -> list[str]:
    """Add scores on other data to a run and its card; those of the same data, split, resolution and views give way.

    Raises:
        UserError: when another process is at work on the run: what that adds would be lost.
    """

    def key(entry: AddedEvaluation) -> tuple:
        scores = entry.scores
        return entry.task.name, entry.task.source_hash, scores.split, scores.resolution, scores.views

    read_run(folder)
    with hold_run(folder):
        others = [entry for entry in read_evaluations(folder) if key(entry) != key(evaluation)]
        write_evaluations(folder, [*others, evaluation])
        return write_card(folder)
