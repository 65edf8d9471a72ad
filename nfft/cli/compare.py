"""`nfft compare`: the same task with several methods, to see what each reaches, and at what price."""

import argparse
from pathlib import Path

from nfft.cli.arguments import add_precision, add_run, add_seeds, new_parser, run_config_of
from nfft.cli.errors import run_command
from nfft.cli.many_runs import run_cells
from nfft.command_line import public_command
from nfft.config.run_config import default_folder
from nfft.errors import UserError
from nfft.experiments.cells import Cell
from nfft.experiments.records import ComparisonRow
from nfft.experiments.runner import check_cells, check_models, check_shots
from nfft.files import check_writable
from nfft.text import in_columns, shorten

EPILOG = """a setting of one method bears its name: --set lora.rank=16
interrupted, or run again with more seeds or methods, it runs what is missing
"""
METHODS = ["probe", "head-and-gains", "lora", "last-stages", "full"]


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft compare`."""
    parser = new_parser("compare", EPILOG)
    how = add_run(parser, several_shots=True)
    how.add_argument(
        "--methods", type=_names, default=METHODS, metavar="A,B", help="(default: " + ",".join(METHODS) + ")"
    )
    add_seeds(how)
    how.add_argument(
        "--wanted", type=_share, metavar="TOP1",
        help="say how many images a class this top-1 would take, such as 0.9, by the curve that several --shots make",
    )  # fmt: skip
    add_precision(how)
    where = parser.add_argument_group("where")
    where.add_argument("--output-dir", type=Path, help="the folder of all runs (default: runs/compare-TASK-MODEL)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_command(compare, parser().parse_args(arguments))


def compare(options: argparse.Namespace) -> int:
    """Run what is missing; print the table, and write it with a plot. Returns 1 when a run failed."""
    from nfft.experiments.compare import groups_of, row_of

    if options.wanted is not None and not options.several_shots:
        raise UserError("--wanted asks for images a class: say with how many to measure, as in --shots 1,2,5,10,20.")
    groups = groups_of(run_config_of(options), options.methods, options.several_shots, options.seeds, options.model_arg)
    folder = options.output_dir or Path("runs") / f"compare-{default_folder(options.task, options.model).name}"
    # Seed by seed, so that whoever stops early has something of every method.
    order = [group.cells[seed] for seed in range(options.seeds) for group in groups]
    check_writable(folder / "compare.json", "the folder of all runs, for")
    check_cells(order, folder)
    check_models(order, folder)
    check_shots(order, folder)
    shots = f"{len(options.several_shots)} numbers of shots, " if len(options.several_shots) > 1 else ""
    print(
        f"folder  {folder}\nruns    {len(order)}: {len(options.methods)} methods, {shots}{options.seeds} seeds",
        flush=True,
    )
    failed, interrupted = run_cells(order, folder)
    if interrupted:
        return interrupted
    rows = [row for group in groups if (row := row_of(group.method, group.cells, folder))]
    if rows:
        _report(options, rows, order, folder)
    return 1 if failed else 0


def _report(options: argparse.Namespace, rows: list[ComparisonRow], cells: list[Cell], folder: Path) -> None:
    """Print what came out and write it down; with several numbers of shots as learning curves, with a card."""
    from nfft.experiments import compare, learning_curve, report

    title = f"{Path(options.task).stem} with {Path(options.model).name}"
    print("\n" + in_columns(compare.table_of(rows)))
    several = len(options.several_shots) > 1
    curves = learning_curve.curves_of(rows, options.wanted) if several or options.wanted is not None else []
    if several:
        report.write_curves(curves, rows, cells, folder, title, public_command())
        print("\n" + in_columns(learning_curve.table_of_curves(curves)))
    else:
        report.write_comparison(rows, folder, title, public_command())
    if curves:
        print("\n" + "\n".join(curve.sentence for curve in curves))
    card = "README.md, " if several else ""
    print(f"\nwritten to  {folder}/: {card}compare.md, compare.json, compare.png, and a folder a run")


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, such as 0.9; got {shorten(text, 80)}")
    return number


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, each once; got {text}")
    return names
