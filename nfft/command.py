"""What every command does with a mistake: one sentence on standard error, no traceback, exit status 2."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable

from nfft.errors import UserError
from nfft.files import UNWRITABLE


def run(action: Callable[[argparse.Namespace], int], given: argparse.Namespace) -> int:
    """Do `action` with the arguments that were given; returns the exit status."""
    # Pillow warns about odd but readable metadata of users' pictures; torch about the strides of 1x1 convolutions,
    # which channels_last and row-major layouts write differently for the same memory.
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    try:
        return action(given)
    except (UserError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError):
            if error.errno not in UNWRITABLE:
                raise
            where = error.filename or "the run folder"
            text = f"{where} cannot be used: {error.strerror}. Mend that, then go on with --resume."
        if os.environ.get("NFFT_DEBUG") == "1":
            raise
        # Every process meets the same mistake; one sentence is enough.
        if os.environ.get("RANK", "0") == "0":
            print(f"nfft: {text}", file=sys.stderr)
        return 2
