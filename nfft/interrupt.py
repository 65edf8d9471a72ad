"""Ctrl-C and a scheduler's SIGTERM: finish the step, save, then leave."""

import signal
from types import FrameType


class Interrupt:
    """While active, the first SIGINT or SIGTERM is remembered and the second acts as usual."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "Interrupt":
        self.before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
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
