"""The command: find the pieces, train, score, and fill the run folder.

accelerate launch nfft/finetune.py --task digits
nfft finetune --task digits
"""

import argparse
from pathlib import Path

from nfft.cli.arguments import add_method, add_precision, add_private, add_run, new_parser, run_config_of
from nfft.cli.errors import run_command

EPILOG = """examples:
  nfft finetune --task digits
  nfft finetune --task photos/ --model timm/dm_nfnet_f0.dm_in1k --output-dir runs/photos
  nfft finetune --task flowers102 --set dropout=0.25 --set label_smoothing=0
an interrupted run goes on with the same command and --resume
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft finetune`."""
    made = new_parser("finetune", EPILOG)
    how = add_run(made)
    add_method(how)
    add_precision(how)
    where = made.add_argument_group("where")
    where.add_argument("--output-dir", type=Path, help="the run folder (default: runs/TASK-MODEL)")
    where.add_argument("--resume", action="store_true", help="take up the run in the folder where it was left")
    share = made.add_argument_group("share")
    share.add_argument("--push-to", metavar="USER/NAME", help="a repository of the Hub that the run is put into")
    add_private(share)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 2 a mistake of the user's, 130 interrupted."""
    return run_command(_finetune, parser().parse_args(arguments))


def _finetune(options: argparse.Namespace) -> int:
    from nfft.training.run import finetune

    return finetune(run_config_of(options))
