"""`nfft merge`: a whole network out of an adapter and its base, for those who load networks without nfft."""

import argparse
from pathlib import Path

from nfft.cli.arguments import new_parser
from nfft.cli.errors import run_command
from nfft.cli.imports import lasting_imports
from nfft.errors import UserError
from nfft.files import check_new_folder, new_folder
from nfft.runs.folder import RUN, has_ended


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
    with lasting_imports():
        from nfft.auto import AutoNFNet

    output: Path = options.output
    check_new_folder(output, "")
    run = Path(options.model).expanduser()
    if (run / RUN).is_file() and not has_ended(run):
        raise UserError(f"the run in {run} has not ended. Go on with it first (--resume).")
    model = AutoNFNet.from_pretrained(options.model, revision=options.revision)
    if model.checkpoint.base is None:
        raise UserError(f"{options.model} is no adapter: it is a whole network already.")
    with new_folder(output, "") as folder:
        model.save_pretrained(folder)
    print(f"written to  {output}/: model.safetensors, config.json")
    return 0
