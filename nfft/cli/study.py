"""`nfft study`: every run of a study, and what they answer."""

import argparse
import math
from fnmatch import fnmatchcase
from pathlib import Path

from nfft.cli.arguments import add_seeds, listed_names, new_parser
from nfft.cli.errors import run_command
from nfft.cli.many_runs import run_cells
from nfft.command_line import public_command
from nfft.config.overrides import by_owner
from nfft.config.registry import study as find_study
from nfft.config.run_config import split_pairs
from nfft.config.study import Study, slug
from nfft.errors import UserError, nearest
from nfft.experiments.cells import Changes, in_order, places, tasks_of
from nfft.experiments.records import RECORDS, finished
from nfft.experiments.runner import check_cells, check_models, check_study
from nfft.files import check_writable
from nfft.text import in_columns

EPILOG = """interrupted, or run again with more seeds, it runs what is missing. The same command in another process, on
this machine or one that shares the folder, takes runs that no other is at. Without a shared folder, --only 'nf-*'
chooses runs; with the folders put together, the command writes the table of all.
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft study`."""
    parser = new_parser("study", EPILOG)
    parser.add_argument("study", metavar="NAME", help=f"{listed_names('studies')}, or a file like those in studies/")
    add_seeds(parser)
    parser.add_argument(
        "--data", action="append", default=[], metavar="TASK=WHERE",
        help="what --task is given in place of a task's name: a folder, a file, another name; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE",
        help="a setting of every run, or as pretraining.FIELD of those that others start from; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=_minutes, default=math.inf, metavar="M",
        help="stop after so long and save the run that is under way, for jobs with a limit of time",
    )  # fmt: skip
    parser.add_argument("--only", default="*", metavar="PATTERN", help="of the runs, those whose folders match")
    parser.add_argument("--output-dir", type=Path, help="the folder of all runs (default: runs/NAME)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_command(run, parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Run what is missing; print the table, and write it with a plot and a card. Returns 1 when a run failed."""
    study = find_study(options.study)
    folder = options.output_dir or Path("runs") / slug(study.name)
    changes = changes_of(options, study)
    table = places(study, options.seeds, changes)
    chosen = [place for place in table if fnmatchcase(place.cell.name, options.only)]
    if not chosen:
        raise UserError(
            f"--only {options.only}: no run is called so; {nearest(options.only, [p.cell.name for p in table])}"
        )
    cells = in_order(chosen)
    check_study(study, cells, changes)
    # Those that are not run now are in the table all the same.
    check_writable(folder / RECORDS, "the folder of all runs, for")
    check_cells(in_order(table), folder)
    check_models(cells, folder)
    print(f"study   {study.title}\ntakes   {study.budget}\nfolder  {folder}")
    print(f"runs    {len(cells)}, {options.seeds} seeds", flush=True)
    failed, interrupted = run_cells(cells, folder, options.minutes)

    # It takes torch and matplotlib, which whoever mistypes something is not to wait for.
    from nfft.experiments import report, results

    records = report.write_study(study, table, folder, public_command())
    if interrupted:
        return interrupted
    if any(run.row is not None for run in finished(records)):
        print("\n" + in_columns(results.table_of(study, records)))
        print("\n" + in_columns(results.differences_of(study, records)))
        print(f"\nwritten to  {folder}/: README.md, study.png, {RECORDS}, and a folder a run")
    return 1 if failed else 0


def changes_of(options: argparse.Namespace, study: Study) -> Changes:
    """What the command line has other than the study."""
    elsewhere, known = split_pairs(options.data, "--data"), tasks_of(study)
    for name in elsewhere:
        if name not in known:
            raise UserError(f"--data {name}: the study has no such task; {nearest(name, known)}")
    of = by_owner(split_pairs(options.set, "--set"), ["pretraining"])
    return Changes(elsewhere, of[""], of["pretraining"])


def _minutes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not number > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0; got {text}")
    return number
