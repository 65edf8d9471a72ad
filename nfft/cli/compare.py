"""`nfft compare`: the same task with several methods, to see what each reaches, and at what price."""

import argparse
from pathlib import Path

from nfft.cli.arguments import add_precision, add_run, add_seeds, new_parser, run_config_of
from nfft.cli.errors import run_command
from nfft.command_line import public_command
from nfft.config.run_config import default_folder
from nfft.experiments.runner import check_cells, tell_and_run
from nfft.files import write_json, write_text
from nfft.text import in_columns, in_markdown

EPILOG = """a setting of one method bears its name: --set lora.rank=16
interrupted, or run again with more seeds or methods, it runs what is missing
"""
METHODS = ["probe", "head-and-gains", "lora", "last-stages", "full"]


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft compare`."""
    made = new_parser("compare", EPILOG)
    how = add_run(made)
    how.add_argument(
        "--methods", type=_names, default=METHODS, metavar="A,B", help="(default: " + ",".join(METHODS) + ")"
    )
    add_seeds(how)
    add_precision(how)
    where = made.add_argument_group("where")
    where.add_argument("--output-dir", type=Path, help="the folder of all runs (default: runs/compare-TASK-MODEL)")
    return made


def main(arguments: list[str] | None = None) -> int:
    return run_command(compare, parser().parse_args(arguments))


def compare(given: argparse.Namespace) -> int:
    """Run what is missing; print the table, and write it with a plot. Returns 1 when a run failed."""
    from nfft.experiments.compare import HEADER, as_rows, cells_of, row_of
    from nfft.experiments.plots import plot_comparison

    cells = cells_of(run_config_of(given), given.methods, given.seeds, given.model_arg)
    folder = given.output_dir or Path("runs") / f"compare-{default_folder(given.task, given.model).name}"
    # Seed by seed, so that whoever stops early has something of every method.
    order = [cells[method][seed] for seed in range(given.seeds) for method in given.methods]
    check_cells(order, folder)
    print(f"folder  {folder}\nruns    {len(order)}: {len(given.methods)} methods, {given.seeds} seeds", flush=True)
    failed, interrupted = tell_and_run(order, folder)
    if interrupted:
        return interrupted
    rows = [row for method in given.methods if (row := row_of(method, cells[method], folder))]
    if rows:
        title = f"{Path(given.task).stem} with {Path(given.model).name}"
        lines = [HEADER, *as_rows(rows)]
        write_json(folder / "compare.json", {"command": public_command(), "methods": rows})
        write_text(folder / "compare.md", in_markdown(lines))
        plot_comparison(rows, folder / "compare.png", title)
        print("\n" + in_columns(lines))
        print(f"\nwritten to  {folder}/: compare.md, compare.json, compare.png, and a folder a run")
    return 1 if failed else 0


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, each once; got {text}")
    return names
