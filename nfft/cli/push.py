"""`nfft push`: a run to the Hub."""

import argparse
from pathlib import Path

from nfft.cli.arguments import add_private, new_parser
from nfft.cli.errors import run_command
from nfft.reporting.publish import push_run


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft push`."""
    made = new_parser("push")
    made.add_argument("run", type=Path, help="a run's folder")
    made.add_argument("repository", help="user/name; made when there is none")
    add_private(made)
    made.add_argument("--revision", help="a branch, made when there is none (default: main)")
    made.add_argument("--create-pr", action="store_true", help="propose the commit instead")
    return made


def main(arguments: list[str] | None = None) -> int:
    return run_command(push, parser().parse_args(arguments))


def push(given: argparse.Namespace) -> int:
    """Push a run's folder, its card naming the repository."""
    lines = push_run(
        given.run, given.repository, private=given.private, revision=given.revision, create_pr=given.create_pr
    )
    print("\n".join(lines))
    return 0
