"""Methods side by side: the runs, and a row of figures for each."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nfft.config import registry
from nfft.config.overrides import by_owner, read_changes, read_config, with_settings
from nfft.config.recipe import Recipe
from nfft.config.run_config import RunConfig
from nfft.errors import UserError, nearest
from nfft.experiments.cells import Cell
from nfft.intervals import interval
from nfft.reporting.markdown import ABSENT, memory
from nfft.runs.folder import NETWORK

HEADER = ("Method", "Top-1 %", "95 % interval", "Trained", "Time", "Peak memory", "On disk")


def cells_of(config: RunConfig, methods: Sequence[str], seeds: int, model_args: Sequence[str]) -> dict[str, list[Cell]]:
    """The runs of each method, one a seed, with the settings that it heeds.

    Args:
        config: what the runs share; the name of a setting of one method begins with that.
        model_args: those of `config`, as they were written.

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
    if config.shots is not None:
        shared += ["--shots", str(config.shots)]
    for argument in model_args:
        shared += ["--model-arg", argument]
    found = {}
    for name in methods:
        method = with_settings(registry.method(name), of[name], name)
        texts = {setting: text for setting, text in of[""].items() if method.heeds(setting)}
        texts |= {f"task.{setting}": text for setting, text in of["task"].items()}
        texts |= {f"method.{setting}": text for setting, text in of[name].items()}
        words = [*shared, "--method", name, *(word for each in texts.items() for word in ("--set", "=".join(each)))]
        configs = [replace(config, method=name, settings=texts, seed=seed) for seed in range(seeds)]
        read_config(configs[0])
        found[name] = [Cell(f"{name}-{each.seed}", (*words, "--seed", str(each.seed)), each) for each in configs]
    return found


def row_of(method: str, cells: Sequence[Cell], folder: Path) -> dict[str, Any] | None:
    """What the runs of a method have in common and how they differ; None where none is done."""
    done = [(cell, results) for cell in cells if (results := cell.results(folder))]
    if not done:
        return None
    scores = [results["test"] or results["validation"] for _, results in done]
    top1 = [each["top1"] for each in scores]
    low, high = interval(top1)
    last = done[-1][0]
    files = [folder / last.name / name for name in NETWORK]
    return {
        "method": method,
        "split": scores[0]["split"],
        "images": scores[0]["count"],
        "top1": top1,
        "low": low,
        "high": high,
        "trained": last.facts(folder)["model"]["trained"],
        "parameters": last.facts(folder)["model"]["parameters"],
        "wall_seconds": [results["training"]["wall_seconds"] for _, results in done],
        "peak_memory_bytes": max(results["training"]["peak_memory_bytes"] for _, results in done),
        "disk_bytes": sum(file.stat().st_size for file in files if file.is_file()),
    }


def as_rows(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            row["method"],
            f"{100 * statistics.fmean(row['top1']):.2f}",
            spread(row),
            f"{row['trained']:,} ({row['trained'] / row['parameters']:.1%})",
            f"{statistics.median(row['wall_seconds']):,.0f} s",
            memory(row["peak_memory_bytes"]),
            memory(row["disk_bytes"]),
        )
        for row in rows
    ]


def spread(row: dict[str, Any]) -> str:
    """The interval of the mean, if there is one."""
    if row["low"] is None:
        return ABSENT
    return f"{100 * max(0, row['low']):.2f} to {100 * min(1, row['high']):.2f}"
