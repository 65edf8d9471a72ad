"""Ctrl-C, a scheduler's SIGTERM, a terminal that is closed: finish the step, save, then leave."""

import signal
import threading
from types import FrameType

HANG_UP = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
SIGNALS = [signal.SIGINT, signal.SIGTERM, *HANG_UP]


class Interrupt:
    """While active, the first of SIGNALS is remembered and the second acts as usual; in the main thread, that is."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "Interrupt":
        # Python lets the main thread alone say what happens on a signal.
        if threading.current_thread() is not threading.main_thread():
            self.before = {}
            return self
        # nohup has a terminal that is closed stop nothing: that stays so.
        ignored = {number for number in HANG_UP if signal.getsignal(number) is signal.SIG_IGN}
        self.before = {number: signal.signal(number, self._note) for number in SIGNALS if number not in ignored}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        return self.signal is not None

    @property
    def exit_status(self) -> int:
        """128 + the signal, as shells count: 130 for Ctrl-C."""
        return 128 + (self.signal or signal.SIGINT)
