"""Processes, devices and precision, by way of accelerate."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs, gather_object

from nfft.cores import Moment, cores
from nfft.errors import UserError
from nfft.machine import computes_bf16

T = TypeVar("T")
# What of accelerate is not offered here, where every process has a whole copy of the network.
NOT_OFFERED = ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG")
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def make_accelerator(precision: str) -> Accelerator:
    """The process group and autocast of this run.

    Args:
        precision: "fp32", "bf16", "fp16", or "auto": that of `accelerate launch --mixed_precision`, else bf16 where the
            device has fast instructions for it, else fp32.

    Raises:
        UserError: for a precision that the device lacks, or an option of accelerate's config that is not offered.
    """
    # By default accelerate's launcher sets "no"; float32 is --precision fp32.
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision == "auto":
        mixed = launched if launched != "no" else "bf16" if is_fast_at_bf16() else "no"
    else:
        mixed = MIXED[precision]
    if mixed == "fp16" and (not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU") == "True"):
        raise UserError("fp16 needs a GPU: on a CPU it would be ignored. Use --precision bf16 or fp32.")
    if mixed not in MIXED.values():
        raise UserError(f"mixed precision {mixed} is not offered. Use --precision bf16, fp16 or fp32.")
    for name in NOT_OFFERED:
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() in ("true", "1"):
            raise UserError(
                f"{name} of accelerate's config is not offered: AGC needs each unit of a weight in one piece. Choose "
                "plain data parallelism (`accelerate config`)."
            )
    # cuDNN times its algorithms once for each shape, of which a run has few; timm's train.py sets that, too.
    torch.backends.cudnn.benchmark = True
    # The others wait for the main process to fetch and scan the data, which can take longer than torch's ten minutes.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    # A process that has trained before, as in a notebook, keeps its group; accelerate keeps its first precision, too.
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed:
        AcceleratorState._reset_state()
    # Unless told that there is only a CPU, accelerate lets every process that torchrun started there run alone.
    return Accelerator(mixed_precision=mixed, cpu=not torch.accelerator.is_available(), kwargs_handlers=[patience])


def check_alike(facts: Mapping[str, Any]) -> None:
    """See that the processes, which read data and checkpoints by themselves, have read the same.

    Args:
        facts: by the name that the error has for them.

    Raises:
        UserError: naming what differs, before they train on it, or wait for each other for ever.
    """
    for number, others in enumerate(gather_object([dict(facts)])):
        for name, value in facts.items():
            if others[name] != value:
                raise UserError(
                    f"process {number} has found other {name}. Machines that train together need the same data, "
                    "weights and run folder, such as on a disk that they share."
                )


def of_all(items: list[T], processes: int) -> list[T]:
    """The items of every process, in each of them; where there is but one, nothing is sent."""
    return gather_object(items) if processes > 1 else items


def best_device() -> torch.device:
    """The accelerator of this machine, or its CPU."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def lone_process() -> list[str]:
    """A line for those who want several processes of `accelerate launch --cpu`, which starts one and says nothing."""
    if "MASTER_ADDR" in os.environ and "RANK" not in os.environ:
        return ["accelerate launch --cpu starts one process; for N: torchrun --nproc-per-node N nfft/finetune.py ..."]
    return []


def is_fast_at_bf16() -> bool:
    """Whether bfloat16 arithmetic beats float32 here: most GPUs, and CPUs with AMX or AVX512-BF16."""
    if torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU") != "True":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return computes_bf16()


def autocast_dtype(accelerator: Accelerator) -> torch.dtype | None:
    """What autocast computes in; None where there is none."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision)


def precision_of(accelerator: Accelerator) -> str:
    """The precision in the words of --precision."""
    return next(name for name, mixed in MIXED.items() if mixed == accelerator.mixed_precision)


def set_threads(threads: int | None, since: Moment | None = None) -> list[str]:
    """Let torch compute on `threads` cores of the CPU.

    Args:
        threads: None leaves torch's own choice, but for launchers, and where it is more than others leave.
        since: a moment from which on it was seen what others do; where absent, they are taken for idle.

    Returns:
        A line, where others have cores that torch would take.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ or "TORCHELASTIC_RUN_ID" in os.environ
    if threads is not None:
        torch.set_num_threads(threads)
    elif launched and os.environ.get("OMP_NUM_THREADS") == "1":
        # accelerate's and torch's launchers set that unless told more, which leaves most cores idle.
        torch.set_num_threads(max(1, cores() // processes))
    elif "OMP_NUM_THREADS" not in os.environ and processes == 1:
        # The threads of a step wait for each other: one without a core of its own keeps all of them waiting.
        usual, idle = min(torch.get_num_threads(), cores()), since.idle_cores() if since else cores()
        torch.set_num_threads(min(usual, idle))
        if idle < usual:
            return [
                f"other processes are at work: of {cores()} cores it takes {idle}, which is faster than to share; "
                f"OMP_NUM_THREADS={usual} takes all"
            ]
    return []


def default_workers(accelerator: Accelerator) -> int:
    """Loader processes: all cores feed a GPU; a CPU that computes has none to spare unless it has many."""
    share = cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(16, share) if accelerator.device.type != "cpu" else (0 if share < 8 else 2)
