"""This machine: cores, memory, hardware, and the versions of what computes on it."""

import contextlib
import ctypes
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from nfft import __version__

try:
    import resource
except ImportError:  # only Unix has it
    resource = None  # type: ignore[assignment]

# Libraries that decide the result.
VERSIONS = ("torch", "timm", "accelerate", "datasets", "huggingface_hub", "safetensors")
# Where Linux says how much a container may have: cgroups of the second kind, and of the first.
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_of(device: torch.device) -> int:
    """Bytes that one process can count on: of its GPU, or its share of this machine's."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            total = min(total, int(limit.read_text()))
    return total // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of the libraries that decide the result, by name."""
    return {
        "nfft": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in VERSIONS},
    }


def hardware(device: str) -> dict[str, Any]:
    """The device ("cpu" or "cuda") and its name, and the machine's cores and bytes of memory."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else _processor()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"device": device.split(":")[0], "name": name, "cores": os.cpu_count(), "memory_bytes": memory}


def computes_bf16() -> bool:
    """Whether the processor has instructions for bfloat16: AMX or AVX512-BF16."""
    names = ("amx_bf16", "avx512_bf16")
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name) for name in names)
    # Older releases of torch do not tell; Linux has the same names.
    flags = next((line.split() for line in _cpuinfo() if line.startswith("flags")), [])
    return any(name in flags for name in names)


def _cpuinfo() -> list[str]:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []


def _processor() -> str:
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: str) -> int:
    """Bytes at their peak: of the device's memory where it is a GPU, else of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def keep_freed_memory() -> None:
    """Have this process keep what it frees, in place of giving it back to the system and asking for it again.

    A network's activations are tens of megabytes each, which glibc asks the system for and gives back layer by layer;
    the system fills each page with zeros when it is first touched. The largest amount at once stays as it is. For
    programs of our own: in someone else's, what is kept is kept from all that comes later. Without glibc, nothing
    happens.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        allocator = ctypes.CDLL(None)
        # M_MMAP_MAX: no block is mapped by itself; M_TRIM_THRESHOLD: the heap is not made smaller.
        allocator.mallopt(-4, 0)
        allocator.mallopt(-1, 2**31 - 1)
