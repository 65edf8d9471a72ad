"""Processor cores: how many this process may use, and how many of them others keep busy."""

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

STATISTICS = Path("/proc/stat")
# Microseconds of cores that Linux lets a container have in a period of so many, in cgroups of the second kind.
QUOTA = Path("/sys/fs/cgroup/cpu.max")
# What /proc/stat counts for each core, in its order, in ticks.
COUNTED = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
# Who is nice gives way, and yet takes a core at the wrong moment.
BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
# The system counts in hundredths of a second, and takes a core for the one's whose turn it is then.
SHORTEST = 1.0


def cores() -> int:
    """Processor cores that this process may use, of those that it sees."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # not there, or "max"
        quota, period = map(int, QUOTA.read_text().split())
        usable = min(usable, max(1, math.ceil(quota / period)))
    return usable


@dataclass(frozen=True)
class Moment:
    """A moment of this process, to tell later what has happened since.

    Attributes:
        time: seconds of the monotonic clock.
        busy: seconds that its cores have been at work, for anyone; None where the system does not tell.
        own: seconds that they have been at work for this process.
    """

    time: float
    busy: float | None
    own: float

    @classmethod
    def now(cls) -> "Moment":
        return cls(time.monotonic(), _busy_seconds(), time.process_time())

    @property
    def seconds(self) -> float:
        """Since then."""
        return time.monotonic() - self.time

    def idle_cores(self) -> int:
        """Cores that others have left to this process since then, on average.

        At least one; all of them where the system does not tell, or the moment was too short a time ago.
        """
        now = Moment.now()
        if self.busy is None or now.busy is None or now.time - self.time < SHORTEST:
            return cores()
        others = (now.busy - self.busy - (now.own - self.own)) / (now.time - self.time)
        return max(1, min(cores(), round(cores() - others)))


def _busy_seconds() -> float | None:
    """Seconds that the cores this process may use have worked since the system was started."""
    try:
        lines = [line.split() for line in STATISTICS.read_text().splitlines() if line.startswith("cpu")]
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        ticks = [dict(zip(COUNTED, map(int, counts), strict=False)) for name, *counts in lines if name in mine]
        return sum(core[state] for core in ticks for state in BUSY) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, KeyError, AttributeError):
        return None
