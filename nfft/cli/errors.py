"""What every command does with a mistake: one sentence on standard error, no traceback, exit status 2."""

import argparse
import os
import re
import sys
import warnings
from collections.abc import Callable

from nfft.errors import LocalError, UserError
from nfft.files import UNWRITABLE
from nfft.text import printable

OUT_OF_MEMORY = (
    "the device's memory is too small for this network at this resolution, or others are using it. Free it, choose a "
    "smaller resolution, or hide the GPU (CUDA_VISIBLE_DEVICES=) to compute on the CPU."
)


def run_command(action: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Do `action` with the options of a command; returns the exit status."""
    # Pillow warns about odd but readable metadata of users' pictures; torch about the strides of 1x1 convolutions,
    # which channels_last and row-major layouts write differently for the same memory.
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    if hasattr(sys.stdout, "reconfigure"):
        # Names of files need not be UTF-8: such ones are printed as they are.
        sys.stdout.reconfigure(errors="surrogateescape")
    try:
        return action(options)
    except BrokenPipeError:
        # Whoever read the output has had enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("\nnfft: interrupted", file=sys.stderr)
        return 130
    except (UserError, OSError, RuntimeError) as error:
        text = _sentence(error, options)
        if text is None or os.environ.get("NFFT_DEBUG") == "1":
            raise
        # Most mistakes are met by every process of a machine, and one sentence is enough.
        rank = os.environ.get("RANK", "0")
        if os.environ.get("LOCAL_RANK", rank) == "0" or isinstance(error, (LocalError, OSError, RuntimeError)):
            who = "nfft" if rank == "0" else f"nfft, process {rank}"
            # What strangers wrote is not to reach the terminal as anything but text.
            print(f"{who}: {printable(text)}", file=sys.stderr)
        return 2


def _sentence(error: UserError | OSError | RuntimeError, options: argparse.Namespace) -> str | None:
    """What to tell people; None where the mistake is not theirs."""
    if isinstance(error, OSError):
        if error.errno not in UNWRITABLE and error.filename is None:
            return None
        then = "Mend that, then go on with --resume." if hasattr(options, "resume") else "Mend that and try again."
        return f"{error.filename or 'the run folder'} cannot be used: {error.strerror}. {then}"
    if isinstance(error, RuntimeError):
        # By its name: torch is not imported for what needs none of it.
        return OUT_OF_MEMORY if type(error).__name__ == "OutOfMemoryError" else None
    # A loader process hands over its own with a traceback before it.
    return re.sub(r".*\bnfft\.errors\.\w+: ", "", str(error), flags=re.DOTALL).strip()
