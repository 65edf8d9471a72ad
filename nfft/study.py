"""A study: a question that many runs answer together, and what those are."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from nfft.errors import UserError
from nfft.grid import Cell

# What of a run's settings are options of `nfft finetune`; any other is given with its --set.
OPTIONS = ("task", "model", "model_arg", "recipe", "method", "steps", "epochs", "batch_size", "lr", "shots")
# Each is in place of the others.
DURATIONS = ("steps", "total_steps", "epochs")

# Settings of a run by name: an option of `nfft finetune`, or what its --set takes.
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Pretrained:
    """A network that the study trains itself before it is fine-tuned, once with each seed.

    Attributes:
        name: of its folder.
        settings: of that training.
    """

    name: str
    settings: Settings


@dataclass(frozen=True)
class Study:
    """What a file in `studies/` declares as STUDY: a run for each row, column and seed of a table.

    Attributes:
        name, title: of it.
        question: what it asks, in a sentence or two.
        rows, columns: what each has of its own, by the name that the table gives it; `model` may be a Pretrained.
            A setting of a column is taken over that of a row, and either over those that all runs share.
        shared: settings of all runs.
        pairs: rows that are compared seed by seed, the first being what the second is held against.
        row_label: what the rows are, for the head of the table.
        paper: what the paper has found, as Markdown, with where it says so.
        budget: how long it takes, on what, with three seeds.
        weights: "kept" for the top-1 on test of the weights that validation chose; "ema" for that on validation of the
            averaged ones, chosen or not.
    """

    name: str
    title: str
    question: str
    rows: Mapping[str, Settings]
    columns: Mapping[str, Settings]
    shared: Settings
    pairs: tuple[tuple[str, str], ...]
    row_label: str
    paper: str
    budget: str
    weights: str = "kept"

    def __post_init__(self) -> None:
        if self.weights not in ("kept", "ema"):
            raise UserError(f"study {self.name}: weights must be kept or ema; got {self.weights!r}.")
        for name in (name for pair in self.pairs for name in pair):
            if name not in self.rows:
                raise UserError(f"study {self.name}: its pairs name {name!r}, which is no row.")
        for names in (self.rows, self.columns):
            if len({slug(name) for name in names} - {""}) < len(names):
                raise UserError(
                    f"study {self.name}: each row and column needs a name of its own, of letters or digits: they name "
                    f"folders; got {', '.join(map(repr, names))}."
                )
        for row, column in product(self.rows.values(), self.columns.values()):
            if missing := {"task", "model"} - {**self.shared, **row, **column}.keys():
                raise UserError(f"study {self.name}: its runs need a {' and a '.join(sorted(missing))}.")


@dataclass(frozen=True)
class Place:
    """Where a cell stands in the table."""

    row: str
    column: str
    seed: int
    cell: Cell


@dataclass(frozen=True)
class Changes:
    """What a user has other than the study.

    Attributes:
        tasks: what `nfft finetune --task` is to be given in place of a task's name, such as a folder of images.
        runs, pretraining: settings of all runs, and of those that pre-train.
    """

    tasks: Mapping[str, str] = field(default_factory=dict)
    runs: Settings = field(default_factory=dict)
    pretraining: Settings = field(default_factory=dict)


def places(study: Study, seeds: int, changes: Changes) -> list[Place]:
    """Every run of the table, seed by seed: whoever stops early has something of everything."""
    return [
        Place(row, column, seed, _cell(study, row, column, seed, changes))
        for seed in range(seeds)
        for column in study.columns
        for row in study.rows
    ]


def in_order(table: Sequence[Place]) -> list[Cell]:
    """The cells of `table`, each after the one that it starts from.

    Raises:
        UserError: when two that are not the same would share a folder.
    """
    found: dict[str, Cell] = {}
    for place in table:
        for cell in (place.cell.start, place.cell):
            if cell is not None and found.setdefault(cell.name, cell) != cell:
                raise UserError(f"{cell.name} is pre-trained in two ways under one name.")
    return list(found.values())


def _cell(study: Study, row: str, column: str, seed: int, changes: Changes) -> Cell:
    settings = merged(study.shared, study.rows[row], study.columns[column], changes.runs)
    name = f"{slug(row)}/{slug(column)}-{seed}"
    model = settings["model"]
    if not isinstance(model, Pretrained):
        return Cell(name, arguments(settings, seed, changes))
    del settings["model"]
    source = arguments(merged(model.settings, changes.pretraining), seed, changes)
    start = Cell(f"pre-trained/{slug(model.name)}-{seed}", source)
    return Cell(name, arguments(settings, seed, changes), start)


def merged(*layers: Settings) -> dict[str, Any]:
    """Settings with each layer's over those before it; a duration replaces any other."""
    found: dict[str, Any] = {}
    for layer in layers:
        if set(DURATIONS) & layer.keys():
            found = {name: value for name, value in found.items() if name not in DURATIONS}
        found |= layer
    return found


def tasks(study: Study) -> set[str]:
    """Names of the tasks that its runs train on."""
    every = [study.shared, *study.rows.values(), *study.columns.values()]
    every += [model.settings for settings in every if isinstance(model := settings.get("model"), Pretrained)]
    return {settings["task"] for settings in every if "task" in settings}


def arguments(settings: Settings, seed: int, changes: Changes) -> tuple[str, ...]:
    """What `nfft finetune` is given for `settings`."""
    settings = {**settings, "task": changes.tasks.get(settings["task"], settings["task"])}
    words: list[str] = []
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", str(value)] if name in OPTIONS else ["--set", f"{name}={_text(value)}"]
    return (*words, "--seed", str(seed))


def _text(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def slug(name: str) -> str:
    """A name as a folder's."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
