"""`nfft finetune`, which is also what launchers start by the path of nfft/finetune.py."""

import argparse
import os
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from nfft.cli.arguments import add_method, add_precision, add_private, add_run, new_parser, run_config_of
from nfft.cli.errors import run_command
from nfft.cli.imports import lasting_imports
from nfft.command_line import is_main_process, public_command, resume_command
from nfft.config.run_config import RunConfig

EPILOG = """examples:
  nfft finetune --task digits
  nfft finetune --task photos/ --model timm/dm_nfnet_f0.dm_in1k --output-dir runs/photos
  nfft finetune --task flowers102 --set dropout=0.25 --set label_smoothing=0
an interrupted run goes on with the same command and --resume
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft finetune`."""
    parser = new_parser("finetune", EPILOG)
    how = add_run(parser)
    add_method(how)
    add_precision(how)
    where = parser.add_argument_group("where")
    where.add_argument("--output-dir", type=Path, help="the run folder (default: runs/TASK-MODEL)")
    where.add_argument("--resume", action="store_true", help="take up the run in the folder where it was left")
    share = parser.add_argument_group("share")
    share.add_argument("--push-to", metavar="USER/NAME", help="a repository of the Hub that the run is put into")
    add_private(share)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 2 a mistake of the user's, 130 interrupted."""
    return run_command(finetune, parser().parse_args(arguments))


def finetune(options: argparse.Namespace) -> int:
    """Train, and show how it goes; docs/run-folder.md says what is left in the folder."""
    from nfft.runs.folder import check_folder, hold_run

    config = replace(run_config_of(options), command=public_command())
    with ExitStack() as held:
        if is_main_process():
            check_folder(config.folder, resume=config.resume)
            # Before the libraries, which take seconds to import, in which another could begin here.
            held.enter_context(hold_run(config.folder))
        return _train(config, held)


def _train(config: RunConfig, held: ExitStack) -> int:
    with lasting_imports():
        from nfft.cli.console import Console
        from nfft.machine import keep_freed_memory
        from nfft.training.run import Interrupted, train

    keep_freed_memory()
    console = Console()
    try:
        train(config, [console], held=held)
    except Interrupted as stop:
        if os.environ.get("RANK", "0") == "0":
            print(f"{stop}. Go on with:", file=sys.stderr)
            print(f"  {resume_command()}", file=sys.stderr)
        return stop.exit_status
    finally:
        console.close()
    return 0
