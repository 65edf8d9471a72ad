"""All about training speed on one GPU, in one run of under eight minutes: steps, their parts, and the loader's feed.

    python benchmarks/gpu.py --output gpu/
    python benchmarks/gpu.py --output gpu/ --small              # the same of a tiny network, on a CPU too

The protocol is the paper's: the median step of a loop, inputs on the device, 32 images; and then the largest power of
two that fits, up to 512. What is compared runs in turn, A B A B. training_steps.py says what a step is. cuDNN searches
for the fastest convolutions, as timm's train.py has it; the first line says whether nfft asks for that by itself.

The most important rows come first. Each is printed and written as soon as it is measured: the output folder holds
results.jsonl, table.md, and a table of kernels for each kind of step. What fails says why, and the next row follows;
rows for which --minutes leaves no time are named.

    matmul          of large bf16 matrices: what the card can reach
    step            a training step; the ratio is to timm's, of both compiled where it says so
    optimizer step  AGC, SGD and the average alone, with gradients at hand, as optimizer_step.py times it
    rival           the paper's comparison, EfficientNet-B7 (timm's; SGD and average, no AGC) with F1; the ratio is
                    B7's to F1's
    loader          batches from the workers, of JPEGs of 500 x 375 px that the script makes, with the augmentation of
                    the recipe imagenet; timm's RandAugment is as its train.py has it, or with as many operations and
                    the nearest pixel, as nfft's. The ratio is to the latter
    fed             nfft's step out of its loader; the ratio is to the same step with a batch at hand

TFLOP/s are the model's: a multiply-add is two, a step three forward passes. They are also given as shares of matmul's
and of what the card's data sheet says.
"""

import argparse
import datetime
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import architectures
import gpu_loader
import gpu_steps
import loader_throughput
import optimizer_step
import torch
from gpu_rows import Card, Report, Row
from training_steps import Pace, Setting, middle

from nfft.cores import cores
from nfft.distributed.accelerator import make_accelerator

# Dense bf16 TFLOP/s by what the card calls itself. Source: NVIDIA's data sheets.
NOMINAL = {"H200": 989, "H100 80GB HBM3": 989}


@dataclass(frozen=True)
class Scale:
    """How large everything is; `side` and `most_images` are for a GPU to say where they are None."""

    networks: tuple[str, ...] = ("dm_nfnet_f0", "nf_resnet50", "dm_nfnet_f1", "dm_nfnet_f3", "eca_nfnet_l0")
    against: str = "dm_nfnet_f1"
    rival: str = "efficientnet_b7"
    rival_side: int = 600
    side: int | None = None
    images: int = 32
    most_images: int | None = None
    pace: Pace = field(default_factory=Pace)
    photos: int = 2000
    photo_size: tuple[int, int] = (500, 375)
    loaded: int = 256
    workers: int = 16
    matrix: int = 8192


SMALL = Scale(
    networks=("test_nfnet",),
    against="test_nfnet",
    rival="test_efficientnet",
    rival_side=32,
    side=32,
    images=2,
    most_images=4,
    pace=Pace(seconds=0.1, rounds=2, most_steps=1, warm_up=1),
    photos=40,
    photo_size=(64, 48),
    loaded=4,
    workers=1,
    matrix=128,
)


@dataclass(frozen=True)
class Part:
    """Rows that are measured together, and the seconds that they need."""

    title: str
    seconds: float
    measure: Callable[[], Iterator[Row]]


class OutOfTime(BaseException):
    """No Exception, so that nobody on the way takes it for one of theirs."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    arguments.add_argument("--networks", nargs="+", metavar="ARCHITECTURE", help="timm's, the most important first")
    arguments.add_argument("--minutes", type=float, default=7.5, help="after which no row begins or goes on")
    arguments.add_argument("--small", action="store_true", help="a tiny network, and nothing compiled")
    given = arguments.parse_args()
    deadline = time.monotonic() + 60 * given.minutes
    scale = SMALL if given.small else Scale()
    scale = replace(scale, networks=tuple(given.networks or scale.networks), workers=min(scale.workers, cores()))
    if given.small:
        torch.compiler.set_stance("force_eager")
    device = make_accelerator("bf16").device
    report = Report(given.output, about(device))
    # PyTorch remembers one way to compute a convolution, searched for or not: all that is compared must do the same.
    torch.backends.cudnn.benchmark = True
    matmul = matmul_row(device, scale.matrix)
    report.add(matmul)
    nominal = next((rate for name, rate in NOMINAL.items() if name in card_name(device)), None)
    with tempfile.TemporaryDirectory() as photos:
        for part in plan(scale, Card(device, matmul.tflops, nominal), given.output, Path(photos)):
            left = deadline - time.monotonic()
            if left < (0 if given.small else part.seconds):
                report.add(Row(what="skipped", note=f"{part.title}: needs {part.seconds:.0f} s, {left:.0f} s are left"))
                continue
            try:
                with at_most(left):
                    for row in part.measure():
                        report.add(row)
            except (Exception, SystemExit, OutOfTime) as error:
                # Of an error that came from another process, the last line says what it was.
                lines = str(error).strip().splitlines() or [""]
                why = lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"
                report.add(Row(what="failed", note=f"{part.title}: {type(error).__name__}: {why[:300]}"))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise OutOfTime inside when they are over."""

    def end(*_: Any) -> None:
        raise OutOfTime(f"cut off after {seconds:.0f} s, when --minutes were over")

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def plan(scale: Scale, card: Card, output: Path, photos: Path) -> Iterator[Part]:
    """Everything, the most important first."""
    first = scale.networks[0]

    def setting(network: str, images: int | None) -> Setting:
        side = scale.side or architectures.sides(network)[0]
        images = images or scale.most_images or gpu_steps.most_images(network, side, card.device)
        return Setting(network, side, images, card.device)

    def steps(network: str, images: int | None, *, compiled: bool = False) -> Part:
        def measure() -> Iterator[Row]:
            ways = gpu_steps.beside_timm(setting(network, images), compiled=compiled)
            target = gpu_steps.COMPILED if compiled else gpu_steps.EAGER
            return gpu_steps.step_rows("step", ways, target, card, scale.pace, output)

        title = f"step of {network}, {images or 'as many as fit'} images{', compiled' if compiled else ''}"
        return Part(title, 120 if compiled else 20 if images else 40, measure)

    def rival() -> Iterator[Row]:
        ours, theirs = setting(scale.against, scale.images), (scale.rival, scale.rival_side, scale.images, card.device)
        ways = gpu_steps.beside_rival(ours, Setting(*theirs))
        return gpu_steps.step_rows("rival", ways, gpu_steps.RIVAL, card, scale.pace, output)

    def optimizer(network: str) -> Iterator[Row]:
        return gpu_steps.optimizer_rows(network, card.device, 5 * scale.pace.rounds)

    def loader() -> Iterator[Row]:
        split = gpu_loader.photographs(photos, scale.photos, scale.photo_size)
        return gpu_loader.loader_rows(setting(first, scale.loaded), photos, split, scale.workers, scale.pace)

    def fed() -> Iterator[Row]:
        split = gpu_loader.photographs(photos, scale.photos, scale.photo_size)
        return gpu_loader.fed_rows(setting(first, scale.loaded), split, scale.workers, scale.pace)

    for network in scale.networks:
        yield steps(network, scale.images)
        yield steps(network, None)
        yield Part(f"optimizer step of {network}", 5, partial(optimizer, network))
        if network in scale.networks[:2]:
            yield steps(network, scale.images, compiled=True)
        if network == scale.against:
            yield Part(f"{scale.rival} beside {network}", 20, rival)
    yield Part("loaders", 45, loader)
    yield Part(f"{first} fed by the loader", 35, fed)
    for network in scale.networks[2:]:
        yield steps(network, scale.images, compiled=True)
    yield steps(first, None, compiled=True)


def matmul_row(device: torch.device, side: int) -> Row:
    """The rate of bf16 matrix products."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = [1000 * optimizer_step.seconds(lambda: left @ right, device) for _ in range(23)][3:]
    ms, low, high = middle(times)
    return Row(what="matmul", side=side, ms=ms, low=low, high=high, tflops=2 * side**3 / ms / 1e9)


def card_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else loader_throughput.processor()


def about(device: torch.device) -> str:
    """When, on what, with what."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False) if shutil.which(asked[0]) else None
    driver = f", driver {' '.join(found.stdout.split()[:1])}, cuDNN {torch.backends.cudnn.version()}" if found else ""
    shared = shutil.disk_usage("/dev/shm").total / 2**30 if Path("/dev/shm").exists() else 0
    search = f"nfft {'asks' if torch.backends.cudnn.benchmark else 'does not ask'} cuDNN to search"
    machine = f"{cores()} cores, {shared:.1f} GiB of shared memory for loaders"
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "timm", "triton", "accelerate", "pillow")]
    return f"{datetime.date.today()}; {card_name(device)}{driver}; {machine}; {', '.join(versions)}; {search}"


if __name__ == "__main__":
    main()
