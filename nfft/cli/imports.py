"""Imports of what a command works with: torch and what comes with it are most of a short command's time."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lasting_imports() -> Iterator[None]:
    """Import libraries that stay until the process ends, which Python is not to search for garbage meanwhile or later.

    It would go through all objects there are again and again while they become millions, in a sixth of the time.
    """
    if not gc.isenabled() or "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        # Libraries that take themselves apart at the end of the process look for what is left of them.
        atexit.register(gc.unfreeze)
