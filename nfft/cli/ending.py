"""A command as the whole of a process: however it ends, the process ends soon, with its status."""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from nfft.cli.streams import keep_streams

# From when a command is over: threads and processes that do not end by themselves may not keep what others wait for.
ENDING_SECONDS = 6.0


def as_process(command: Callable[[], int]) -> int:
    """Do a command, whose exit status is returned, in a process that does nothing else.

    Once it is over, nothing is left to be written: Ctrl-C has nothing more to stop, and what still runs is ended.
    """
    keep_streams()
    _interrupt_once()
    if os.environ.get("NFFT_DEBUG") != "1":
        # What libraries cannot take apart after an error that has been told.
        sys.unraisablehook = lambda unraisable: None
    status = 1
    try:
        status = command()
    except KeyboardInterrupt:
        status = 130
    except SystemExit as stop:
        # argparse has said what is wrong.
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
    finally:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if status:
            _end_within(ENDING_SECONDS, status)
    return status


def _interrupt_once() -> None:
    """Let Ctrl-C that is pressed again and again raise once: the way out takes a moment, and is not to be cut off."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    raised = -math.inf

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal raised
        if time.monotonic() - raised > ENDING_SECONDS:
            raised = time.monotonic()
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handle)


def _end_within(seconds: float, status: int) -> None:
    """See that this process ends, whatever its threads, its children or a library's own end are waiting for."""

    def end() -> None:
        for child in multiprocessing.active_children():
            child.kill()
        os._exit(status)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:
        # Not one more thread may be started: the system ends it.
        signal.alarm(round(seconds))
