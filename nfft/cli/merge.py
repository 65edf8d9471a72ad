"""`nfft merge`: a whole network out of an adapter and its base, for those who load networks without nfft."""

import argparse
from pathlib import Path

from nfft.cli.arguments import new_parser
from nfft.cli.errors import run_command
from nfft.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft merge`."""
    command = new_parser("merge")
    command.add_argument("model", metavar="ADAPTER", help="a run's folder, or a repository on the Hub")
    command.add_argument("output", type=Path, help="a new folder")
    command.add_argument("--revision", help="a branch, tag or commit of the adapter's repository")
    return command


def main(arguments: list[str] | None = None) -> int:
    return run_command(merge, parser().parse_args(arguments))


def merge(options: argparse.Namespace) -> int:
    """Write the merged network into a new folder."""
    from nfft.auto import AutoNFNet

    is_empty_folder = options.output.is_dir() and not any(options.output.iterdir())
    if options.output.exists() and not is_empty_folder:
        raise UserError(f"{options.output} is there already. Choose another folder.")
    model = AutoNFNet.from_pretrained(options.model, revision=options.revision)
    if model.checkpoint.base is None:
        raise UserError(f"{options.model} is no adapter: it is a whole network already.")
    model.save_pretrained(options.output)
    print(f"written to  {options.output}/: model.safetensors, config.json")
    return 0
