"""Methods side by side: the runs, and a row of figures for each."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nfft.config import registry
from nfft.config.overrides import by_owner, read_changes, read_config, with_settings
from nfft.config.recipe import Recipe
from nfft.config.run_config import RunConfig
from nfft.errors import UserError, nearest
from nfft.experiments.cells import Cell
from nfft.experiments.records import ComparisonRow
from nfft.intervals import interval
from nfft.reporting.markdown import ABSENT, amount, memory
from nfft.runs.folder import NETWORK


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seeds alone.

    Attributes:
        shots: training images of each class; None for all.
        cells: a run a seed.
    """

    method: str
    shots: int | None
    cells: tuple[Cell, ...]


HEADER = ("Method", "Top-1 %", "95 % interval", "Trained", "Time", "Peak memory", "On disk")


def cells_of(
    config: RunConfig, methods: Sequence[str], seeds: int, model_args: Sequence[str], ending: str = ""
) -> dict[str, list[Cell]]:
    """The runs of each method, one a seed, with the settings that it heeds.

    Args:
        config: what the runs share; the name of a setting of one method begins with that.
        model_args: those of `config`, as they were written.
        ending: of the names of their folders, before the seed.

    Raises:
        UserError: as `nfft finetune` would, before the first of many runs.
    """
    owners = ["task", *methods]
    of = by_owner(config.settings, owners)
    if strange := [name for name in of[""] if "." in name]:
        raise UserError(
            f"--set {strange[0]}: a setting's name may begin with task or a method that is compared; "
            f"{nearest(strange[0].partition('.')[0], owners)}"
        )
    read_changes(Recipe, of[""], whose="recipe")
    shared = ["--task", config.task_name, "--model", config.model, "--recipe", config.recipe]
    shared += ["--precision", config.precision]
    if config.teacher is not None:
        shared += ["--teacher", config.teacher]
    if config.shots is not None:
        shared += ["--shots", str(config.shots)]
    for argument in model_args:
        shared += ["--model-arg", argument]
    cells = {}
    for name in methods:
        method = with_settings(registry.method(name), of[name], name)
        texts = {setting: text for setting, text in of[""].items() if method.heeds(setting)}
        texts |= {f"task.{setting}": text for setting, text in of["task"].items()}
        texts |= {f"method.{setting}": text for setting, text in of[name].items()}
        words = [*shared, "--method", name, *(word for pair in texts.items() for word in ("--set", "=".join(pair)))]
        configs = [replace(config, method=name, settings=texts, seed=seed) for seed in range(seeds)]
        read_config(configs[0])
        cells[name] = [Cell(f"{name}{ending}-{own.seed}", (*words, "--seed", str(own.seed)), own) for own in configs]
    return cells


def groups_of(
    config: RunConfig, methods: Sequence[str], shots: Sequence[int], seeds: int, model_args: Sequence[str]
) -> list[Group]:
    """The runs of each method with each number of images a class; with one number, or all images, one group a method.

    Args:
        shots: ascending; empty for all images. Several stand in the names of the folders, so that there may be more.
        config, methods, seeds, model_args: as `cells_of` takes them.

    Raises:
        UserError: as `nfft finetune` would, before the first of many runs.
    """
    numbers: list[int | None] = [*shots] or [None]
    by_shots = {
        count: cells_of(
            replace(config, shots=count), methods, seeds, model_args, f"-{count}-shots" if len(shots) > 1 else ""
        )
        for count in numbers
    }
    return [Group(name, count, tuple(cells[name])) for name in methods for count, cells in by_shots.items()]


def row_of(method: str, cells: Sequence[Cell], folder: Path) -> ComparisonRow | None:
    """What the runs of a method have in common and how they differ; None where none is done."""
    done = [cell for cell in cells if cell.is_done(folder)]
    if not done:
        return None
    results = [cell.results(folder) for cell in done]
    scores, training = [outcome.quoted for outcome in results], [outcome.training for outcome in results]
    top1 = tuple(split.top1 for split in scores)
    low, high = interval(top1)
    last, model = folder / done[-1].name, done[-1].run(folder).model
    return ComparisonRow(
        method=method,
        shots=done[0].config.shots,
        split=scores[0].split,
        images=scores[0].count,
        top1=top1,
        seeds=tuple(cell.config.seed for cell in done),
        low=low,
        high=high,
        trained=model.trained,
        parameters=model.parameters,
        wall_seconds=tuple(run.wall_seconds for run in training),
        peak_memory_bytes=max(run.peak_memory_bytes for run in training),
        disk_bytes=sum((last / name).stat().st_size for name in NETWORK if (last / name).is_file()),
    )


def table_of(rows: Sequence[ComparisonRow]) -> list[tuple[str, ...]]:
    """The rows as people read them, below a header; with a column for the shots where these differ."""
    with_shots = len({row.shots for row in rows}) > 1
    return [
        (HEADER[0], *(["Images a class"] if with_shots else []), *HEADER[1:]),
        *(
            (
                row.method,
                *([amount(row.shots)] if with_shots else []),
                f"{100 * statistics.fmean(row.top1):.2f}",
                _spread(row),
                f"{row.trained:,} ({row.trained / row.parameters:.1%})",
                f"{statistics.median(row.wall_seconds):,.0f} s",
                memory(row.peak_memory_bytes),
                memory(row.disk_bytes),
            )
            for row in rows
        ),
    ]


def _spread(row: ComparisonRow) -> str:
    """The interval of the mean, if there is one."""
    if row.low is None or row.high is None:
        return ABSENT
    return f"{100 * max(0, row.low):.2f} to {100 * min(1, row.high):.2f}"
