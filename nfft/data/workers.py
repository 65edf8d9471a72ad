"""Loader processes: how their batches reach this one, and that none outlives the work it is for."""

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader

SHARED = "/dev/shm"
# Batches that each worker has ready, as torch has it by default.
AHEAD = 2
# Locks and queues of the loaders lie there, too.
SPARE = 2 << 20
# prctl(2) of Linux: the signal that a process gets when the one that started it ends.
PARENT_DEATH_SIGNAL = 1
# A process that is killed is gone in no time, unless the disk that it reads from does not answer.
KILL_SECONDS = 2.0

STARTED: "weakref.WeakSet[BaseProcess]" = weakref.WeakSet()


class Loader(DataLoader):
    """A DataLoader whose workers are known, so that they can be ended whatever they are at."""

    def __iter__(self) -> Any:
        if not self.num_workers:
            return super().__iter__()
        before = set(multiprocessing.active_children())
        if not STARTED:
            # Whatever is registered last is done first: before multiprocessing waits for them, for ever if need be.
            atexit.unregister(end_workers)
            atexit.register(end_workers)
        try:
            batches = super().__iter__()
        finally:
            # Also those that were started before another could not be.
            STARTED.update(child for child in multiprocessing.active_children() if child not in before and child.daemon)
        return map(_unpacked, batches)


def worker_begins(worker: int) -> None:
    """Ctrl-C, `timeout` and a closed terminal reach a whole group; the main process acts, and these end with it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)


def end_workers() -> None:
    """End every worker that still lives, at once: they hold nothing that is to be kept."""
    living = [worker for worker in STARTED if worker.is_alive()]
    STARTED.clear()
    if not living:
        return
    with _undisturbed():
        for worker in living:
            worker.kill()
        for worker in living:
            worker.join(KILL_SECONDS)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """For a moment, neither does Ctrl-C act, nor torch's error, wherever the main thread is, when a worker dies."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGCHLD: signal.signal(signal.SIGCHLD, signal.SIG_DFL),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def workers_end() -> Iterator[None]:
    """On the way out by an exception, end the workers: its traceback would keep them, and what they hold, alive."""
    try:
        yield
    except BaseException:
        end_workers()
        raise


def _unpacked(batch: Any) -> Any:
    return batch.unpacked() if hasattr(batch, "unpacked") else batch


def free_shared_memory() -> int | None:
    """Bytes that processes of this machine can still share; None where that cannot be told."""
    try:
        found = os.statvfs(SHARED)
    except (OSError, AttributeError):
        return None
    return found.f_bavail * found.f_frsize


def is_short(batch_bytes: int, workers: int) -> bool:
    """Whether the memory that processes share may not have room for the batches that so many workers have ready."""
    free = free_shared_memory()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return free is not None and free < (AHEAD * workers + 1) * batch_bytes * processes + SPARE


def sharing_lines(batch_bytes: int, workers: int) -> list[str]:
    """A line for people about shared memory that is too small for their workers, and what is done about it."""
    if not workers or not (not can_start() or is_short(batch_bytes, workers)):
        return []
    free = (free_shared_memory() or 0) / 2**20
    instead = "batches come through pipes, which takes longer" if can_start() else "there are no loader processes"
    return [
        f"{SHARED} has {free:.0f} MB free, too few for {workers} loader processes: {instead}. --shm-size=8g gives a "
        "container more"
    ]


def can_start() -> bool:
    """Whether there is room for what queues between processes need at all."""
    free = free_shared_memory()
    if free is not None and free < SPARE:
        return False
    try:
        multiprocessing.Lock()
    except OSError:
        return False
    return True
