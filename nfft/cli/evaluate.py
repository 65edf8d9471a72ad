"""`nfft evaluate`: score any checkpoint on any task, as it is preprocessed wherever it is loaded."""

import argparse
from pathlib import Path

from nfft.cli.arguments import add_model, add_precision, add_task_settings, add_views, between, new_parser
from nfft.cli.errors import run_command
from nfft.cli.imports import lasting_imports
from nfft.cores import Moment


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft evaluate`."""
    command = new_parser("evaluate")
    add_model(command)
    command.add_argument("--task", required=True, help="as for nfft finetune")
    command.add_argument(
        "--split", choices=["train", "validation", "test", "all"], help="(default: test, or else validation)"
    )
    command.add_argument("--resolution", type=between(8, 4096), help="px to test at (default: the checkpoint's)")
    add_views(command)
    add_task_settings(command)
    add_precision(command)
    command.add_argument("--output", type=Path, help="a JSON file (default: runs/evaluate-.../results.json)")
    command.add_argument("--add-to", type=Path, metavar="RUN", help="a run's folder, whose card is to show the scores")
    return command


def main(arguments: list[str] | None = None) -> int:
    return run_command(evaluate, parser().parse_args(arguments))


def evaluate(options: argparse.Namespace) -> int:
    """Score, print, write results.json, and add the scores to a run's card where one is named."""
    began = Moment.now()
    with lasting_imports():
        from nfft.cli.evaluating import score
    return score(options, began)
