"""`nfft study`: every run of a study, and what they answer."""

import argparse
import json
import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nfft import command, findings, finetune, grid, invocation, options, settings
from nfft.catalog import study as find_study
from nfft.catalog import task as find_task
from nfft.errors import UserError, nearest
from nfft.files import write_text
from nfft.grid import Cell, Failed
from nfft.request import Request, pairs
from nfft.study import Changes, Place, Study, in_order, places, slug, tasks
from nfft.text import in_columns

RECORDS = "runs.jsonl"


PURPOSE = "Answer a question by many runs: a table over networks, data and seeds."
EPILOG = """interrupted, or run again with more seeds, it runs what is missing. The same command in another process, on
this machine or one that shares the folder, takes runs that no other is at. Without a shared folder, --only 'nf-*'
chooses runs; with the folders put together, the command writes the table of all.
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft study`."""
    made = options.described("study", PURPOSE, EPILOG)
    made.add_argument("study", metavar="NAME", help=f"{options.listed('studies')}, or a file like those in studies/")
    options.add_seeds(made)
    made.add_argument(
        "--data", action="append", default=[], metavar="TASK=WHERE",
        help="what --task is given in place of a task's name: a folder, a file, another name; may be repeated",
    )  # fmt: skip
    made.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE",
        help="a setting of every run, or as pretraining.FIELD of those that others start from; may be repeated",
    )  # fmt: skip
    made.add_argument(
        "--minutes", type=_minutes, default=math.inf, metavar="M",
        help="stop after so long and save the run that is under way, for jobs with a limit of time",
    )  # fmt: skip
    made.add_argument("--only", default="*", metavar="PATTERN", help="of the runs, those whose folders match")
    made.add_argument("--output-dir", type=Path, help="the folder of all runs (default: runs/NAME)")
    return made


def main(arguments: list[str] | None = None) -> int:
    return command.run(run, parser().parse_args(arguments))


def run(given: argparse.Namespace) -> int:
    """Run what is missing; print the table, and write it with a plot and a card. Returns 1 when a run failed."""
    study = find_study(given.study)
    folder = given.output_dir or Path("runs") / slug(study.name)
    changes = changes_of(given, study)
    table = places(study, given.seeds, changes)
    chosen = [place for place in table if fnmatchcase(place.cell.name, given.only)]
    if not chosen:
        raise UserError(
            f"--only {given.only}: no run is called so; {nearest(given.only, [p.cell.name for p in table])}"
        )
    cells = in_order(chosen)
    check(study, cells, changes)
    # Those that are not run now are in the table all the same.
    grid.check(in_order(table), folder)
    print(f"study   {study.title}\ntakes   {study.budget}\nfolder  {folder}")
    print(f"runs    {len(cells)}, {given.seeds} seeds", flush=True)
    failed, interrupted = grid.tell_and_run(cells, folder, given.minutes)
    records = write(study, table, folder)
    if interrupted:
        return interrupted
    if any(each["row"] for each in findings.finished(records)):
        print("\n" + in_columns(findings.table(study, records)))
        print("\n" + in_columns(findings.differences(study, records)))
        print(f"\nwritten to  {folder}/: README.md, study.png, {RECORDS}, and a folder a run")
    return 1 if failed else 0


def changes_of(given: argparse.Namespace, study: Study) -> Changes:
    """What the command line has other than the study."""
    elsewhere, known = pairs(given.data, "--data"), tasks(study)
    for name in elsewhere:
        if name not in known:
            raise UserError(f"--data {name}: the study has no such task; {nearest(name, known)}")
    of = settings.by_owner(pairs(given.set, "--set"), ["pretraining"])
    return Changes(elsewhere, of[""], of["pretraining"])


def check(study: Study, cells: Sequence[Cell], changes: Changes) -> None:
    """See that what the runs name exists, before the first of many.

    Raises:
        UserError: as `nfft finetune` would.
    """
    for name in sorted(tasks(study)):
        try:
            find_task(changes.tasks.get(name, name))
        except UserError as error:
            raise UserError(f"{error} Say where the images are: --data {name}=FOLDER.") from error
    for cell in cells:
        asked = settings.read(Request.of(finetune.parser().parse_args([*cell.arguments])))
        if study.weights == "ema" and "ema_decay" in asked.changes and asked.changes["ema_decay"] is None:
            raise UserError(f"{cell.name} averages no weights, which are what the study's table is of.")


def write(study: Study, table: Sequence[Place], folder: Path) -> list[dict[str, Any]]:
    """Write the records of all runs that are done or failed, and from them a card and a plot; returns the records."""
    from nfft import card, plot_methods

    folder.mkdir(parents=True, exist_ok=True)
    where = {place.cell.name: place for place in table}
    cells = in_order(table)
    done = [cell for cell in cells if cell.results(folder)]
    records = [findings.record(study, cell, folder, where.get(cell.name)) for cell in done]
    failed = [Failed(cell, reason) for cell in cells if (reason := cell.failure(folder)) is not None]
    records += [findings.failure(each, where.get(each.cell.name)) for each in failed]
    write_text(folder / RECORDS, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records))
    if any(each["row"] for each in findings.finished(records)):
        plot_methods.plot_study(study, records, folder / "study.png")
        write_text(folder / "README.md", card.render_study(study, records, invocation.public_command()))
    return records


def _minutes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not number > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0; got {text}")
    return number
