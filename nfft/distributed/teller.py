"""Which of several processes tells what has ended their run: what all of them meet is said once."""

import contextlib
import os
import socket
from datetime import timedelta

from torch.distributed import DistError, TCPStore

PATIENCE = timedelta(seconds=3)
# What is raised in a process whose partner is gone, by torch's ways to communicate.
PARTED = (
    "Connection closed by peer",
    "Connection reset by peer",
    "gloo/transport",
    "Broken pipe",
    "ncclRemoteError",
    "NCCL communicator was aborted",
    "recvValue failed",
)


def has_parted(error: BaseException) -> bool:
    """Whether an error says no more than that another process of the run is gone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, DistError) or any(words in str(error) for words in PARTED)


def is_first_to_tell() -> bool | None:
    """Whether no other process of this machine has told of the run's end; None where they cannot be asked.

    Whoever is asked counts as having told.
    """
    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
    if address is None or not port.isdecimal():
        return None
    attempt = "/".join(os.environ.get(name, "") for name in ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"))
    machine = os.environ.get("GROUP_RANK", socket.gethostname())
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        # torch itself tries for long, and not in silence.
        socket.create_connection((address, int(port)), PATIENCE.total_seconds()).close()
        store = TCPStore(address, int(port), is_master=False, timeout=PATIENCE, wait_for_workers=False)
        return store.add(f"nfft/told/{attempt}/{machine}", 1) == 1
    return None
