"""The runs that a soup is of: found, read, and seen to be of one network, one set of classes and one start."""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfft.auto import AutoNFNet
from nfft.config import registry
from nfft.config.overrides import with_settings
from nfft.config.task import Task
from nfft.data.splits import Data, draw_shots, public_source
from nfft.errors import UserError
from nfft.experiments.cells import CELL
from nfft.files import expanded
from nfft.models.soup import State, gathers_statistics
from nfft.models.stages import StagedNetwork
from nfft.reporting.card_metadata import hub_id
from nfft.runs.folder import has_ended, has_run, read_results, read_run
from nfft.runs.records import Results, RunRecord, Skipped
from nfft.text import shorten
from nfft.training.plan import readable_data


@dataclass(frozen=True)
class Member:
    """A run that has ended.

    Attributes:
        named: as it was named.
    """

    named: str
    folder: Path
    record: RunRecord
    results: Results


def find_members(names: Sequence[str | Path]) -> list[Member]:
    """The runs that are named, each by its folder, or several by how the names of their folders begin.

    Args:
        names: "runs/photos-0" is that run's folder; "compare/full" are compare/full-0, compare/full-1 and so on, as
            `nfft compare` and `nfft study` call the runs of their seeds.

    Raises:
        UserError: when there is no such run, it has not ended, it is named twice, or there are fewer than two.
    """
    folders = [folder for name in names for folder in _folders_of(expanded(str(name)))]
    twice = [folder for folder in folders if [each.resolve() for each in folders].count(folder.resolve()) > 1]
    if twice:
        raise UserError(f"{shorten(str(twice[0]), 200)} is named twice. Name each run once.")
    if len(folders) < 2:
        raise UserError(
            f"a soup is of at least 2 runs; got {len(folders)}. Name more, such as those of `nfft compare --seeds 3`."
        )
    return [Member(str(folder), folder, read_run(folder), read_results(folder)) for folder in folders]


def _folders_of(path: Path) -> list[Path]:
    shown = shorten(str(path), 200)
    if path.is_dir():
        if not has_run(path):
            raise UserError(
                f"{shown} is not the folder of a run. Name the folder of each run; or, for all seeds of a method in a "
                f"folder of `nfft compare`, how their names begin, such as {shown}/full."
            )
        _check_ended(path)
        return [path]
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    seeds = {
        int(match[1]): each
        for each in beside
        if each.is_dir() and (match := re.fullmatch(re.escape(path.name) + r"-(\d{1,9})", each.name))
    }
    if not seeds:
        raise UserError(f"{shown}: there is no such run, nor {shorten(path.name, 80)}-0 and so on beside it.")
    folders = [seeds[seed] for seed in sorted(seeds)]
    for folder in folders:
        _check_ended(folder)
    return folders


def _check_ended(folder: Path) -> None:
    if not has_ended(folder):
        raise UserError(f"the run in {folder} has not ended. Go on with it first (--resume), or leave it out.")


def check_alike(members: Sequence[Member]) -> None:
    """See that the runs are of one network with one set of classes, started from the same weights, on the same data.

    Raises:
        UserError: naming the first two that differ, and in what.
    """
    first = members[0].record
    for member in members:
        if member.record.model.fingerprint is None:
            raise UserError(
                f"{member.named} started from random weights: those of several such runs have no mean. A soup is of "
                "runs that were fine-tuned from the same weights."
            )
    for member in members[1:]:
        for what, fact in FACTS.items():
            one, two = fact(first), fact(member.record)
            if one != two:
                raise UserError(
                    f"{members[0].named} and {member.named} are of different {what} ({_shown(one)} and {_shown(two)}). "
                    "A soup is of runs of one network, from the same weights, on the same data."
                )


# What has to be the same of all runs, the plainest first.
FACTS: Mapping[str, Callable[[RunRecord], Any]] = {
    "classes": lambda run: run.data.classes,
    "networks": lambda run: run.model.architecture,
    "arguments of the network": lambda run: run.model.arguments,
    "pre-trained weights": lambda run: run.model.fingerprint,
    "data": lambda run: run.data.fingerprint,
    "shots": lambda run: run.data.shots,
    "test resolutions": lambda run: run.recipe.settings["test_resolution"],
    "test margins": lambda run: run.recipe.settings["test_margin"],
}


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    is_hash = re.fullmatch("[0-9a-f]{64}", text) is not None
    return text[:8] if is_hash else shorten(text, 80)


def open_members(members: Sequence[Member]) -> tuple[AutoNFNet, list[State]]:
    """The first run's network with its labels, and the weights of each; of adapters, added to their base.

    Raises:
        UserError: for a network that cannot be loaded, or whose weights have no mean.
    """
    # In full: a folder here may be called as the packaged checkpoint is.
    models = [AutoNFNet.from_pretrained(member.folder.absolute()) for member in members]
    first = models[0]
    for member, model in zip(members, models, strict=True):
        if isinstance(model.network, StagedNetwork):
            raise UserError(
                f"{member.named} has a classifier over several stages of the network, which has no part in a soup: "
                "timm and transformers load none. Name runs without method.stages."
            )
        if gathers_statistics(model.network.state_dict()):
            raise UserError(
                f"{member.named}: {model.checkpoint.architecture} has batch normalization, whose statistics would have "
                "to be gathered anew. Soups are made of normalizer-free networks alone."
            )
        if model.labels != first.labels:
            raise UserError(f"{members[0].named} and {member.named} tell different classes apart.")
        if model.preprocessing != first.preprocessing or model.rendering != first.rendering:
            raise UserError(f"{members[0].named} and {member.named} are shown pictures in different ways.")
        if _shapes(model) != _shapes(first):
            raise UserError(f"{members[0].named} and {member.named} are of different networks: their weights differ.")
    return first, [model.network.state_dict() for model in models]


def _shapes(model: AutoNFNet) -> dict[str, tuple]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in model.network.state_dict().items()}


def find_data(
    members: Sequence[Member], named: str | Path | Task | None, settings: Mapping[str, Any]
) -> tuple[Data, list[Skipped]]:
    """What the runs were trained on: splits as they had them, and images that cannot be read.

    Args:
        named: the task, where run.json does not say where it is, as of files of this machine.
        settings: of the task, over those that the first run had.

    Raises:
        UserError: when it cannot be found, or is not what the runs were trained on.
    """
    run = members[0].record
    task = named if isinstance(named, Task) else registry.task(str(named) if named is not None else _task_of(members))
    changed = with_settings(task, {**(run.task.settings or {}), **settings}, "task")
    data, skipped, fingerprint = readable_data(changed)
    if fingerprint != run.data.fingerprint or tuple(data.classes) != run.data.classes:
        raise UserError(
            f"the data of task {shorten(changed.name, 80)} are not those that {members[0].named} was trained on: other "
            "classes, labels or sizes of images. Name them with --task, and with --set task.FIELD=... as for the run."
        )
    return (draw_shots(data, run.data.shots, run.seed) if run.data.shots is not None else data), skipped


def _task_of(members: Sequence[Member]) -> str:
    """The task of the runs, as `--task` takes it.

    Raises:
        UserError: where it cannot be told: no run says where files lie on a machine.
    """
    task = members[0].record.task
    if task.name in registry.names("tasks") and public_source(registry.task(task.name)) == task.source:
        return task.name
    if hub_id(task.source) is not None:
        return task.source
    for member in members:
        for words in (_words_beside(member.folder), _words(member.record.command)):
            place = words[words.index("--task") + 1] if "--task" in words[:-1] else ""
            # Files of data alone: what is said by a run that may come from elsewhere is not executed.
            if place and expanded(place).exists() and expanded(place).suffix != ".py":
                return place
    raise UserError(
        f"the runs were trained on {shorten(task.name, 80)} ({shorten(task.source, 80)}), and do not say where that is "
        "on this machine. Name it with --task."
    )


def _words_beside(folder: Path) -> list[str]:
    """What a run of a comparison or study was given, as the file beside its folder has it."""
    try:
        content = json.loads(folder.with_name(f"{folder.name}.{CELL}").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    words = content.get("arguments") if isinstance(content, dict) else None
    return [str(word) for word in words] if isinstance(words, list) else []


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return []
