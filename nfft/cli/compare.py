"""`nfft compare`: the same task with several methods, to see what each reaches, and at what price."""

import argparse
from pathlib import Path

from nfft.cli.arguments import add_precision, add_run, add_seeds, new_parser, run_config_of
from nfft.cli.errors import run_command
from nfft.cli.many_runs import run_cells
from nfft.command_line import public_command
from nfft.config.run_config import default_folder
from nfft.experiments.runner import check_cells, check_models
from nfft.files import check_writable
from nfft.text import in_columns

EPILOG = """a setting of one method bears its name: --set lora.rank=16
interrupted, or run again with more seeds or methods, it runs what is missing
"""
METHODS = ["probe", "head-and-gains", "lora", "last-stages", "full"]


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft compare`."""
    parser = new_parser("compare", EPILOG)
    how = add_run(parser)
    how.add_argument(
        "--methods", type=_names, default=METHODS, metavar="A,B", help="(default: " + ",".join(METHODS) + ")"
    )
    add_seeds(how)
    add_precision(how)
    where = parser.add_argument_group("where")
    where.add_argument("--output-dir", type=Path, help="the folder of all runs (default: runs/compare-TASK-MODEL)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_command(compare, parser().parse_args(arguments))


def compare(options: argparse.Namespace) -> int:
    """Run what is missing; print the table, and write it with a plot. Returns 1 when a run failed."""
    from nfft.experiments.compare import cells_of, row_of, table_of

    cells = cells_of(run_config_of(options), options.methods, options.seeds, options.model_arg)
    folder = options.output_dir or Path("runs") / f"compare-{default_folder(options.task, options.model).name}"
    # Seed by seed, so that whoever stops early has something of every method.
    order = [cells[method][seed] for seed in range(options.seeds) for method in options.methods]
    check_writable(folder / "compare.json", "the folder of all runs, for")
    check_cells(order, folder)
    check_models(order, folder)
    print(f"folder  {folder}\nruns    {len(order)}: {len(options.methods)} methods, {options.seeds} seeds", flush=True)
    failed, interrupted = run_cells(order, folder)
    if interrupted:
        return interrupted
    rows = [row for method in options.methods if (row := row_of(method, cells[method], folder))]
    if rows:
        from nfft.experiments.report import write_comparison

        title = f"{Path(options.task).stem} with {Path(options.model).name}"
        write_comparison(rows, folder, title, public_command())
        print("\n" + in_columns(table_of(rows)))
        print(f"\nwritten to  {folder}/: compare.md, compare.json, compare.png, and a folder a run")
    return 1 if failed else 0


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, each once; got {text}")
    return names
