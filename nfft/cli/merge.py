"""`nfft merge`: a whole network out of an adapter and its base, for those who load networks without nfft."""

import argparse
import shutil
from pathlib import Path

from nfft.cli.arguments import new_parser
from nfft.cli.errors import run_command
from nfft.cli.imports import lasting_imports
from nfft.errors import UserError
from nfft.files import check_writable, locked, make_folder, sync
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
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"{output} is there already. Choose another folder.")
    check_writable(output / "config.json", "the folder")
    run = Path(options.model).expanduser()
    if (run / RUN).is_file() and not has_ended(run):
        raise UserError(f"the run in {run} has not ended. Go on with it first (--resume).")
    model = AutoNFNet.from_pretrained(options.model, revision=options.revision)
    if model.checkpoint.base is None:
        raise UserError(f"{options.model} is no adapter: it is a whole network already.")
    # Made beside the folder and renamed: one that was killed is only to be repeated.
    target = output.resolve()
    make_folder(target.parent)
    unfinished = target.with_name(f".{target.name}.merging")
    with locked(unfinished.with_name(f"{unfinished.name}.lock")) as mine:
        if not mine:
            raise UserError(f"another process is writing {output}. Wait for it, or stop it.")
        shutil.rmtree(unfinished, ignore_errors=True)
        model.save_pretrained(unfinished)
        unfinished.replace(target)
        sync(target.parent)
    print(f"written to  {output}/: model.safetensors, config.json")
    return 0
