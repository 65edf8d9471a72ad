"""`nfft soup`: one network out of the weights of several runs, scored and written down as a run is."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nfft.cli.arguments import add_precision, add_task_settings, new_parser
from nfft.cli.errors import run_command
from nfft.cli.imports import lasting_imports
from nfft.command_line import public_command
from nfft.config.overrides import by_owner
from nfft.config.run_config import split_pairs
from nfft.config.soup import SOUP_KINDS
from nfft.errors import UserError
from nfft.files import check_new_folder
from nfft.text import in_columns, shorten

if TYPE_CHECKING:
    from nfft.runs.records import Results

EPILOG = """examples:
  nfft soup runs/photos-0 runs/photos-1 runs/photos-2 --output-dir runs/photos-soup
  nfft soup runs/compare/full --output-dir runs/photos-soup --kind greedy     (full-0, full-1 ...: every seed)
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft soup`."""
    command = new_parser("soup", EPILOG)
    command.add_argument(
        "runs", nargs="+", metavar="RUN", help="folders of runs, or how the names of those of several seeds begin"
    )
    command.add_argument("--output-dir", type=Path, required=True, help="a new folder, which is like that of a run")
    command.add_argument(
        "--kind",
        choices=SOUP_KINDS,
        default="uniform",
        help="the mean of all; that of those which do not lower its top-1 on validation; or Model Stock, between the "
        "mean and the pre-trained weights (default: %(default)s)",
    )
    command.add_argument("--task", help="what the runs were trained on, where they do not say where that is")
    command.add_argument("--base", help="the pre-trained weights, for stock, where they are in a folder")
    add_task_settings(command)
    add_precision(command)
    return command


def main(arguments: list[str] | None = None) -> int:
    return run_command(soup, parser().parse_args(arguments))


def soup(options: argparse.Namespace) -> int:
    """Make the soup, and say how good it is beside its runs."""
    check_new_folder(options.output_dir, "--output-dir ")
    settings = by_owner(split_pairs(options.set, "--set"), ["task"])
    if others := [*settings[""]]:
        raise UserError(f"--set {shorten(others[0], 80)}: expected a setting of the task, such as task.label=species.")
    with lasting_imports():
        from nfft.experiments.soup import make_soup
        from nfft.machine import keep_freed_memory

    keep_freed_memory()
    results = make_soup(
        options.runs,
        options.output_dir,
        options.kind,
        task=options.task,
        base=options.base,
        precision=options.precision,
        settings=settings["task"],
        command=public_command(),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    announce(results, options.output_dir)
    return 0


def announce(results: "Results", folder: Path) -> None:
    """Say how good the soup is, beside the runs that it is of."""
    soup = results.soup
    assert soup is not None
    lines = [["run", "validation top-1", "loss", "in the soup"]]
    for member in soup.members:
        measured, kept = member.validation, "yes" if member.kept else "no"
        lines.append([shorten(member.name, 60), f"{measured.top1:.2%}", f"{measured.loss:.3f}", kept])
    lines.append([f"{soup.kind} soup", f"{results.validation.top1:.2%}", f"{results.validation.loss:.3f}", ""])
    print(in_columns(lines))
    if soup.share is not None:
        print(f"            {soup.share:.0%} of it is the mean, the rest the pre-trained weights")
    best = max(member.validation.top1 for member in soup.members)
    if results.validation.top1 < best:
        print("            the best run does better on validation than the soup")
    for scores in (results.validation, results.test):
        if scores is not None:
            print(f"{scores.split:10}  {scores.in_words}")
    print(f"written to  {folder}/: config.json, model.safetensors, README.md, results.json, confusion.png")
