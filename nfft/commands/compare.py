"""`nfft compare`: the same task with several methods, to see what each reaches, and at what price."""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nfft import catalog, command, finetune, grid, invocation, options, settings
from nfft.card_text import ABSENT, memory
from nfft.errors import UserError, nearest
from nfft.files import write_json, write_text
from nfft.grid import Cell
from nfft.intervals import interval
from nfft.recipe import Recipe, read_changes
from nfft.request import Request, changes_of, default_folder
from nfft.run import NETWORK
from nfft.text import in_columns, in_markdown

HEADER = ("Method", "Top-1 %", "95 % interval", "Trained", "Time", "Peak memory", "On disk")


PURPOSE = "Fine-tune with several methods and seeds, and set the outcomes side by side."
EPILOG = """a setting of one method bears its name: --set lora.rank=16
interrupted, or run again with more seeds or methods, it runs what is missing
"""
METHODS = ["probe", "head-and-gains", "lora", "last-stages", "full"]


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft compare`."""
    made = options.described("compare", PURPOSE, EPILOG)
    how = options.add_run(made)
    how.add_argument(
        "--methods", type=_names, default=METHODS, metavar="A,B", help="(default: " + ",".join(METHODS) + ")"
    )
    options.add_seeds(how)
    options.add_precision(how)
    where = made.add_argument_group("where")
    where.add_argument("--output-dir", type=Path, help="the folder of all runs (default: runs/compare-TASK-MODEL)")
    return made


def main(arguments: list[str] | None = None) -> int:
    return command.run(compare, parser().parse_args(arguments))


def compare(given: argparse.Namespace) -> int:
    """Run what is missing; print the table, and write it with a plot. Returns 1 when a run failed."""
    from nfft import plot_methods

    cells = cells_of(given)
    folder = given.output_dir or Path("runs") / f"compare-{default_folder(given).name}"
    # Seed by seed, so that whoever stops early has something of every method.
    order = [cells[method][seed] for seed in range(given.seeds) for method in given.methods]
    grid.check(order, folder)
    print(f"folder  {folder}\nruns    {len(order)}: {len(given.methods)} methods, {given.seeds} seeds", flush=True)
    failed, interrupted = grid.tell_and_run(order, folder)
    if interrupted:
        return interrupted
    rows = [row for method in given.methods if (row := row_of(method, cells[method], folder))]
    if rows:
        title = f"{Path(given.task).stem} with {Path(given.model).name}"
        lines = [HEADER, *as_rows(rows)]
        write_json(folder / "compare.json", {"command": invocation.public_command(), "methods": rows})
        write_text(folder / "compare.md", in_markdown(lines))
        plot_methods.plot_comparison(rows, folder / "compare.png", title)
        print("\n" + in_columns(lines))
        print(f"\nwritten to  {folder}/: compare.md, compare.json, compare.png, and a folder a run")
    return 1 if failed else 0


def cells_of(given: argparse.Namespace) -> dict[str, list[Cell]]:
    """The runs of each method, one a seed, with the settings that it heeds.

    Raises:
        UserError: as `nfft finetune` would, before the first of many runs.
    """
    owners = ["task", *given.methods]
    of = settings.by_owner(changes_of(given), owners)
    if strange := [name for name in of[""] if "." in name]:
        raise UserError(
            f"--set {strange[0]}: a setting's name may begin with task or a method that is compared; "
            f"{nearest(strange[0].partition('.')[0], owners)}"
        )
    read_changes(Recipe, of[""], whose="recipe")
    shared = ["--task", given.task, "--model", given.model, "--recipe", given.recipe, "--precision", given.precision]
    if given.shots is not None:
        shared += ["--shots", str(given.shots)]
    for argument in given.model_arg:
        shared += ["--model-arg", argument]
    found = {}
    for name in given.methods:
        method = settings.with_settings(catalog.method(name), of[name], name)
        texts = {setting: text for setting, text in of[""].items() if method.heeds(setting)}
        texts |= {f"task.{setting}": text for setting, text in of["task"].items()}
        texts |= {f"method.{setting}": text for setting, text in of[name].items()}
        words = [*shared, "--method", name, *(word for each in texts.items() for word in ("--set", "=".join(each)))]
        settings.read(Request.of(finetune.parser().parse_args(words)))
        found[name] = [Cell(f"{name}-{seed}", (*words, "--seed", str(seed))) for seed in range(given.seeds)]
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


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, each once; got {text}")
    return names
