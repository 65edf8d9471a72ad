"""`nfft merge`: a whole network out of an adapter and its base, for those who load networks without nfft."""

import argparse
from pathlib import Path

from nfft.cli.arguments import new_parser
from nfft.cli.errors import run_command
from nfft.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft merge`."""
    made = new_parser("merge")
    made.add_argument("model", metavar="ADAPTER", help="a run's folder, or a repository on the Hub")
    made.add_argument("output", type=Path, help="a new folder")
    made.add_argument("--revision", help="a branch, tag or commit of the adapter's repository")
    return made


def main(arguments: list[str] | None = None) -> int:
    return run_command(merge, parser().parse_args(arguments))


def merge(given: argparse.Namespace) -> int:
    """Write the merged network into a new folder."""
    from nfft.auto import AutoNFNet

    is_empty_folder = given.output.is_dir() and not any(given.output.iterdir())
    if given.output.exists() and not is_empty_folder:
        raise UserError(f"{given.output} is there already. Choose another folder.")
    model = AutoNFNet.from_pretrained(given.model, revision=given.revision)
    if model.checkpoint.base is None:
        raise UserError(f"{given.model} is no adapter: it is a whole network already.")
    model.save_pretrained(given.output)
    print(f"written to  {given.output}/: model.safetensors, config.json")
    return 0
