"""Standard output and error that outlive their readers: a pipe that is closed ends the printing, not the work."""

import errno
import io
import os
import sys
from pathlib import Path
from typing import TextIO

# Whoever read is gone: the end of a pipe, or a terminal that was closed.
UNHEARD = (errno.EPIPE, errno.EIO)


class LastingFile(io.FileIO):
    """What a stream writes to, by its descriptor.

    Args:
        name: for people; None for one whose text is of no use to programs, and may be lost where it cannot be written.

    Attributes:
        is_heard: whether somebody may still read it.
    """

    def __init__(self, descriptor: int, name: str | None) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.shown_as, self.is_heard, self.has_failed = name, True, False

    def write(self, content: object) -> int:  # type: ignore[override]
        try:
            return super().write(content)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno in UNHEARD:
                self._leave()
            elif self.shown_as is not None and not self.has_failed:
                # Once: Python writes again, when it ends, what is left of it.
                self.has_failed = True
                raise OSError(error.errno, error.strerror, self.shown_as) from error
            return memoryview(content).nbytes  # type: ignore[arg-type]

    def _leave(self) -> None:
        """Let everything in this process that writes there, libraries in C included, write to nowhere."""
        self.is_heard = False
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def keep_streams() -> None:
    """Put streams in place of Python's own that no reader, full disk or odd letter ends this process by.

    Streams that someone else has put there, such as a test or a notebook, stay. Descriptors that were closed are opened
    to nowhere: else the next file that is opened would get what is printed.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _lasting(sys.stdout, sys.__stdout__, 1, "standard output")
    sys.stderr = _lasting(sys.stderr, sys.__stderr__, 2, None)


def is_heard(stream: TextIO) -> bool:
    """Whether somebody may still read what is written to a stream."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return not isinstance(raw, LastingFile) or raw.is_heard


def _lasting(stream: TextIO | None, own: TextIO | None, descriptor: int, name: str | None) -> TextIO:
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    # A console of Windows is written to in another way.
    if stream is not own or not isinstance(stream, io.TextIOWrapper) or sys.platform == "win32":
        return stream
    stream.flush()
    file = LastingFile(descriptor, name)
    unbuffered = isinstance(stream.buffer, io.RawIOBase)
    # Names of files need not be UTF-8, and terminals need not know every letter.
    return io.TextIOWrapper(
        file if unbuffered else io.BufferedWriter(file),  # type: ignore[arg-type]
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=unbuffered,
    )
