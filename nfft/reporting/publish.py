"""A run as others see it: its card, scores on other data that are added to it, and its way to the Hub."""

import datetime
import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

from nfft.errors import UserError
from nfft.files import write_bytes, write_json, write_text
from nfft.runs.folder import NETWORK, RESULTS, RUN, SHARED, hold_run

EVALUATIONS, PUSHED, EVAL_RESULTS = "evaluations.json", "pushed.json", Path(".eval_results") / "nfft.yaml"

# Cards that were replaced.
KEPT = "README.{}.md"


def push_run(
    folder: Path, repository: str, *, private: bool | None, revision: str | None, create_pr: bool
) -> list[str]:
    """Put a run's network, card, results and plots into a repository; returns lines that say so.

    Raises:
        UserError: when something is missing or the Hub cannot be reached; it says how to push later.
    """
    from nfft.hub.upload import check_repository, push_folder

    check_repository(repository, revision, create_pr)
    facts = _read(folder, RUN)
    is_adapter = facts.get("method", {}).get("is_adapter")
    weights = "adapter_model.safetensors" if is_adapter else "model.safetensors"
    for needed in (weights, "config.json", RESULTS):
        if not (folder / needed).is_file():
            raise UserError(f"{folder} has no {needed}: the run has not ended. Go on with it first (--resume).")
    if is_adapter:
        from nfft.models.checkpoint import ADAPTER

        check_base(_read(folder, "config.json").get(ADAPTER, {}).get("base"), str(folder))
    card = folder / "README.md"
    before, kept = card.read_bytes() if card.is_file() else None, set(folder.glob(KEPT.format("*")))
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
            message=f"{facts['model']['name']} fine-tuned on {facts['task']['name']}",
        )
    except UserError as error:
        if before is not None and card.read_bytes() != before:
            write_bytes(card, before)
        for copy in set(folder.glob(KEPT.format("*"))) - kept:
            copy.unlink()
        raise UserError(f"{error} Nothing is lost: the run is whole in {folder}. To push it later: {later}") from error
    # By the card that is there now, a change of it on the Hub can be told from one of ours.
    cards = [*_pushed(folder).get("cards", []), _hash_of_card(folder)]
    write_json(folder / PUSHED, {"repository": repository, "cards": list(dict.fromkeys(cards))})
    return [*lines, f"pushed to   {address}"]


def check_base(base: str | None, folder: str) -> None:
    """See that others can have the network that the adapter in a run's folder changes.

    Args:
        base: its name on the Hub, or its folder.
    """
    from nfft.models.resolve import PACKAGED
    from nfft.reporting.card_metadata import hub_id

    if base != PACKAGED and hub_id(base) is None:
        raise UserError(
            f"{folder} is an adapter for {base}, a folder that is only here. Push that, and train on its name on the "
            f"Hub; or share all in one: `nfft merge {folder} merged`, and AutoNFNet's push_to_hub."
        )


def _pushed(folder: Path) -> dict[str, Any]:
    """Where the run was pushed to last, and hashes of the cards that it has had then and before."""
    return _read(folder, PUSHED) if (folder / PUSHED).is_file() else {}


def _check_card_there(folder: Path, repository: str, revision: str | None) -> None:
    """See that the repository's card is one of this run's: what was written there by hand must not be lost."""
    from nfft.hub.upload import card_on_hub

    there = card_on_hub(repository, revision)
    if there is None or _hash(there) in (*_pushed(folder).get("cards", []), _hash_of_card(folder)):
        return
    raise UserError(
        f"{repository} has a card that was changed there, or is not this run's. Save it as {folder / 'README.md'}, and "
        "the sections that were written by hand will stay; or delete it there."
    )


def _hash_of_card(folder: Path) -> str | None:
    file = folder / "README.md"
    return _hash(file.read_text(encoding="utf-8")) if file.is_file() else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _flags(private: bool | None, revision: str | None, create_pr: bool) -> list[str]:
    return [
        *(["--private"] if private else []),
        *(["--revision", revision] if revision else []),
        *(["--create-pr"] if create_pr else []),
    ]


def write_card(folder: Path, repository: str | None = None) -> list[str]:
    """README.md and, for data of the Hub, .eval_results/: from the run's facts, its hand-written sections kept.

    Args:
        repository: what the card calls the network; where it was pushed to, when absent.

    Returns:
        A line when generated text had been edited by hand: the old card is then kept beside the new one.
    """
    from nfft.reporting.model_card import edited, eval_results, render_card

    facts, results, notes = _read(folder, RUN), _read(folder, RESULTS), []
    file = folder / "README.md"
    try:
        earlier = file.read_text(encoding="utf-8") if file.is_file() else None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8: save it so, or move it away.") from error
    name = repository or _pushed(folder).get("repository")
    try:
        text = render_card(facts, results, repository=name, evaluations=evaluations(folder), earlier=earlier)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"run.json or results.json in {folder} is damaged, or not a run's: {error!r}.") from error
    if earlier is not None and earlier != text and edited(earlier):
        kept = _free_name(folder)
        write_text(kept, earlier)
        notes.append(f"kept        {kept}: the old card, whose generated text had been edited by hand")
    write_text(file, text)
    scored = eval_results(facts, results, facts["started"][:10])
    if scored is not None:
        (folder / EVAL_RESULTS).parent.mkdir(exist_ok=True)
        write_text(folder / EVAL_RESULTS, scored)
    return notes


def _free_name(folder: Path) -> Path:
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    return folder / KEPT.format(now)


def evaluations(folder: Path) -> list[dict[str, Any]]:
    """Scores on other data that were added to the run, oldest first."""
    return _read(folder, EVALUATIONS) if (folder / EVALUATIONS).is_file() else []


def add_evaluation(folder: Path, entry: dict[str, Any]) -> list[str]:
    """Add scores on other data to a run and its card; those of the same data, split and resolution give way.

    Raises:
        UserError: when another process is at work on the run: what that adds would be lost.
    """

    def key(each: dict[str, Any]) -> tuple:
        task, scores = each["task"], each["scores"]
        return task["name"], task.get("source_hash"), scores["split"], scores["resolution"]

    _read(folder, RUN)
    with hold_run(folder):
        others = [each for each in evaluations(folder) if key(each) != key(entry)]
        write_json(folder / EVALUATIONS, [*others, entry])
        return write_card(folder)


def _read(folder: Path, name: str) -> Any:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} has no {name}: expected the folder of a run, as `nfft finetune` leaves it."
        ) from error
    except (ValueError, OSError) as error:
        raise UserError(f"{folder / name} cannot be read: {error}.") from error
