"""`nfft push`: a run to the Hub."""

import argparse
from pathlib import Path

from nfft.cli.arguments import add_private, new_parser
from nfft.cli.errors import run_command


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft push`."""
    parser = new_parser("push")
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("repository", help="user/name; made when there is none")
    add_private(parser)
    parser.add_argument("--revision", help="a branch, made when there is none (default: main)")
    parser.add_argument("--create-pr", action="store_true", help="propose the commit instead")
    return parser


def main(arguments: list[str] | None = None) -> int:
    return run_command(push, parser().parse_args(arguments))


def push(options: argparse.Namespace) -> int:
    """Push a run's folder, its card naming the repository."""
    from nfft.reporting.publish import push_run

    lines = push_run(
        options.run,
        options.repository,
        private=options.private,
        revision=options.revision,
        create_pr=options.create_pr,
    )
    print("\n".join(lines))
    return 0
