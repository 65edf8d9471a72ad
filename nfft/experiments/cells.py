"""The runs of a study or comparison, each with what it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from nfft.config.run_config import RunConfig, read_model_args
from nfft.config.study import Pretrained, Settings, Study, slug
from nfft.errors import UserError
from nfft.runs.folder import has_ended, read_results, read_run
from nfft.runs.records import Results, RunRecord

CELL, LOCK, FAILED = "cell.json", "lock", "failed"


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        name: of its folder, below the grid's.
        arguments: of `nfft finetune`, without the folder.
        config: the same, understood.
        start: the cell whose network it starts from, which is run before; None where `arguments` name a model.
    """

    name: str
    arguments: tuple[str, ...]
    config: RunConfig
    start: Optional["Cell"] = None

    def is_done(self, folder: Path) -> bool:
        """Whether its run has come to its end, in the folder of all runs."""
        return has_ended(folder / self.name)

    def results(self, folder: Path) -> Results:
        """What came out of the run, which is done."""
        return read_results(folder / self.name)

    def run(self, folder: Path) -> RunRecord:
        """What was run."""
        return read_run(folder / self.name)

    def beside(self, folder: Path, ending: str) -> Path:
        """A file beside its folder."""
        return folder / f"{self.name}.{ending}"

    def failure(self, folder: Path) -> str | None:
        """Why it came to nothing when it was run last, if it did."""
        note = self.beside(folder, FAILED)
        return note.read_text(encoding="utf-8") if note.is_file() and not self.is_done(folder) else None

    def described(self) -> dict[str, Any]:
        """What decides what comes out."""
        return {"arguments": list(self.arguments), "start": self.start.described() if self.start else None}


@dataclass(frozen=True)
class Failed:
    """A run that ended without results, and the last thing it said."""

    cell: Cell
    reason: str


# What of a run's settings are options of `nfft finetune`; any other is given with its --set.
OPTIONS = (
    "task", "model", "model_arg", "recipe", "method", "steps", "epochs", "minutes", "batch_size", "lr", "shots",
    "teacher",
)  # fmt: skip
# Those that are no settings of the recipe, the task or the method; and the setting that has another name.
DESCRIBING = ("task", "model", "model_arg", "recipe", "method", "shots", "teacher")
NAMES = {"steps": "total_steps"}
# Each is in place of the others.
DURATIONS = ("steps", "total_steps", "epochs", "minutes")


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
    cells: dict[str, Cell] = {}
    for place in table:
        for cell in (place.cell.start, place.cell):
            if cell is not None and cells.setdefault(cell.name, cell) != cell:
                raise UserError(f"{cell.name} is pre-trained in two ways under one name.")
    return list(cells.values())


def _cell(study: Study, row: str, column: str, seed: int, changes: Changes) -> Cell:
    settings = merged(study.shared, study.rows[row], study.columns[column], changes.runs)
    name = f"{slug(row)}/{slug(column)}-{seed}"
    model = settings["model"]
    if not isinstance(model, Pretrained):
        return _cell_of(name, settings, seed, changes)
    del settings["model"]
    source = merged(model.settings, changes.pretraining)
    start = _cell_of(f"pre-trained/{slug(model.name)}-{seed}", source, seed, changes)
    return _cell_of(name, settings, seed, changes, start)


def _cell_of(name: str, settings: Settings, seed: int, changes: Changes, start: Cell | None = None) -> Cell:
    settings = {**settings, "task": changes.tasks.get(settings["task"], settings["task"])}
    return Cell(name, arguments(settings, seed), config_of(settings, seed), start)


def merged(*layers: Settings) -> dict[str, Any]:
    """Settings with each layer's over those before it; a duration replaces any other."""
    settings: dict[str, Any] = {}
    for layer in layers:
        if set(DURATIONS) & layer.keys():
            settings = {name: value for name, value in settings.items() if name not in DURATIONS}
        settings |= layer
    return settings


def tasks_of(study: Study) -> set[str]:
    """Names of the tasks that its runs train on."""
    every = [study.shared, *study.rows.values(), *study.columns.values()]
    every += [model.settings for settings in every if isinstance(model := settings.get("model"), Pretrained)]
    return {settings["task"] for settings in every if "task" in settings}


def arguments(settings: Settings, seed: int) -> tuple[str, ...]:
    """What `nfft finetune` is given for `settings`."""
    words: list[str] = []
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", str(value)] if name in OPTIONS else ["--set", f"{name}={_text(value)}"]
    return (*words, "--seed", str(seed))


def config_of(settings: Settings, seed: int) -> RunConfig:
    """The same as a run understands it."""
    own: dict[str, Any] = {
        name: str(settings[name]) for name in ("task", "model", "recipe", "method", "teacher") if name in settings
    }
    model_args = read_model_args([settings["model_arg"]] if "model_arg" in settings else [])
    rest = {NAMES.get(name, name): _text(value) for name, value in settings.items() if name not in DESCRIBING}
    return RunConfig(**own, model_args=model_args, settings=rest, seed=seed, shots=settings.get("shots"))


def _text(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
