"""`nfft card`: a run's card, written anew."""

import argparse
from pathlib import Path

from nfft.cli.arguments import new_parser
from nfft.cli.errors import run_command
from nfft.reporting.publish import write_card


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft card`."""
    made = new_parser("card")
    made.add_argument("run", type=Path, help="a run's folder")
    return made


def main(arguments: list[str] | None = None) -> int:
    return run_command(rewrite, parser().parse_args(arguments))


def rewrite(given: argparse.Namespace) -> int:
    """Write a run's card anew, after its template or something in the folder has changed."""
    for line in write_card(given.run):
        print(line)
    print(f"written to  {given.run / 'README.md'}")
    return 0
