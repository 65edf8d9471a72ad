"""What every command does with whatever is raised: a sentence on standard error and exit status 2.

What is no person's to mend, a bug of nfft's, keeps its traceback, and the status is 1.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable

from nfft.cli.sentences import PARTED, sentence_of
from nfft.cli.streams import keep_streams
from nfft.errors import LocalError, UserError
from nfft.text import printable


def run_command(action: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Do `action` with the options of a command; returns the exit status."""
    keep_streams()
    # Pillow warns about odd but readable metadata of users' pictures; torch about the strides of 1x1 convolutions,
    # which channels_last and row-major layouts write differently for the same memory.
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    if hasattr(sys.stdout, "reconfigure"):
        # Names of files need not be UTF-8: such ones are printed as they are.
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        return action(options)
    except KeyboardInterrupt as interrupt:
        if _tells(interrupt, None):
            print("\nnfft: interrupted", file=sys.stderr)
        return 130
    except BaseException as error:
        text = sentence_of(error, resumes=hasattr(options, "resume"))
        is_told = _tells(error, text)
        if text is None or os.environ.get("NFFT_DEBUG") == "1":
            if is_told:
                raise
            return 1
        if is_told:
            rank = os.environ.get("RANK", "0")
            who = "nfft" if rank == "0" else f"nfft, process {rank}"
            # What strangers wrote is not to reach the terminal as anything but text.
            print(f"{who}: {printable(text)}", file=sys.stderr)
        return 2


def _tells(error: BaseException, text: str | None) -> bool:
    """Whether this process, which may be one of several, is to tell of what it has met."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from nfft.distributed.teller import is_first_to_tell

        if (is_first := is_first_to_tell()) is not None:
            return is_first
        # Whoever kept the others' word is gone, and has told why.
        if text == PARTED:
            return False
    is_common = isinstance(error, UserError) and not isinstance(error, LocalError)
    return not is_common or os.environ.get("LOCAL_RANK", os.environ.get("RANK", "0")) == "0"
