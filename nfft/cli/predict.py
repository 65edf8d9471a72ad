"""`nfft predict`: the most probable classes of pictures, on the terminal and as a table."""

import argparse
import os
from pathlib import Path

from nfft.cli.arguments import add_model, add_views, at_least, new_parser
from nfft.cli.errors import run_command
from nfft.cli.imports import lasting_imports
from nfft.cores import Moment
from nfft.errors import UserError
from nfft.reporting.predictions import Table


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft predict`."""
    command = new_parser("predict")
    add_model(command)
    command.add_argument(
        "files",
        nargs="+",
        metavar="FILE|FOLDER|PATTERN|@LIST",
        help="pictures, folders of them, patterns such as 'photos/*.jpg', @FILE with one of these on a line, or - for "
        "such lines on standard input",
    )
    command.add_argument("--top-k", type=at_least(1), default=5, help="classes to name (default: %(default)s)")
    command.add_argument("--csv", type=Path, metavar="OUT", help="write a table instead of lines")
    command.add_argument(
        "--continue", dest="continues", action="store_true", help="keep the rows of --csv, and do what is not there yet"
    )
    add_views(command)
    command.add_argument("--batch-size", type=at_least(1), default=32, help="pictures at once (default: %(default)s)")
    command.add_argument("--max-pixels", type=at_least(1), metavar="N", help="read pictures of up to so many pixels")
    return command


def main(arguments: list[str] | None = None) -> int:
    return run_command(predict, parser().parse_args(arguments))


def predict(options: argparse.Namespace) -> int:
    """Classify each file, in order; those that cannot be read are named and passed over."""
    from nfft.data.named_files import NamedFiles

    if options.continues and options.csv is None:
        raise UserError("--continue goes on with a table: name it with --csv.")
    rank = int(os.environ.get("RANK", "0"))
    # One process lists, for all, and writes for all; before the libraries, which take seconds to import.
    files = NamedFiles(options.files if rank == 0 else [])
    writes = options.csv is not None and rank == 0
    table = Table(options.csv, options.continues, options.views) if writes else None
    began = Moment.now()
    with lasting_imports():
        from nfft.cli.predicting import classify
    return classify(options, files, table, rank, began)
