"""What was typed to start this process, to be repeated, and for others to read."""

import os
import re
import shlex
import sys
from pathlib import Path

from nfft.text import printable

# By which launchers tell a process its number.
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def is_main_process() -> bool:
    """Whether this is the first of the processes that were started together, or alone; no library is asked."""
    return next((os.environ[name] for name in RANKS if name in os.environ), "0") == "0"


def command() -> str:
    """What was typed to start this process, as far as it can be told."""
    script, processes = sys.argv[0], os.environ.get("WORLD_SIZE", "1")
    by_path = Path(script).name == "finetune.py"
    if not by_path and sys.argv[1:2] != ["finetune"]:
        return shlex.join(["nfft", *sys.argv[1:]])
    arguments = sys.argv[1:] if by_path else sys.argv[2:]
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        several = ["--num_processes", processes] if processes != "1" else []
        mixed = os.environ["ACCELERATE_MIXED_PRECISION"]
        precision = ["--mixed_precision", mixed] if mixed != "no" else []
        return shlex.join(["accelerate", "launch", *several, *precision, script, *arguments])
    if processes != "1":
        return shlex.join(["torchrun", "--nproc-per-node", processes, script, *arguments])
    return shlex.join(["nfft", "finetune", *arguments])


def public_command() -> str:
    """The same for others to read: of what lies on this machine, only the last parts of its paths.

    As a path all the same: `--task path/to/cifar10` is not the catalog's cifar10.
    """
    return printable(shlex.join(public_path(word) for word in shlex.split(command())))


def public_path(word: str) -> str:
    """A word of a command for others to read: of a path of this machine, the last part."""
    names, value = re.fullmatch(r"((?:[\w.-]+=)*)(.*)", word, re.DOTALL).groups()  # type: ignore[union-attr]
    is_path = value.startswith(("/", "~", "..")) or re.match(r"[A-Za-z]:\\", value)
    script = value.endswith("nfft/finetune.py")
    last = re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return word if not is_path else names + ("nfft/finetune.py" if script else f"path/to/{last}")


def resume_command() -> str:
    """What goes on with the run of this process."""
    processes = os.environ.get("WORLD_SIZE", "1")
    if os.environ.get("LOCAL_WORLD_SIZE", processes) != processes:
        return "the command that started it, on every machine, with --resume"
    return command() if "--resume" in sys.argv else f"{command()} --resume"
