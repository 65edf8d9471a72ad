"""`nfft card`: a run's card, written anew."""

import argparse
from pathlib import Path

from nfft.cli.arguments import new_parser
from nfft.cli.errors import run_command
from nfft.runs.folder import CARD


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft card`."""
    parser = new_parser("card")
    parser.add_argument("run", type=Path, help="a run's folder")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_command(rewrite, parser().parse_args(arguments))


def rewrite(options: argparse.Namespace) -> int:
    """Write a run's card anew, after its template or something in the folder has changed."""
    from nfft.reporting.publish import write_card

    for line in write_card(options.run):
        print(line)
    print(f"written to  {options.run / CARD}")
    return 0
