"""Training steps by nfft and by timm, and what each takes: gpu.py prints it.

A step is forward, backward, AGC, SGD with Nesterov momentum and the average of weights, in bf16 and channels_last, with
label smoothing, dropout and stochastic depth of the recipe `imagenet`. The batch lies on the device and stays the same.

    nfft   the step of a run, AGC and average included; its figures are not read: a run reads them a step late
    timm   what its train.py does with --amp --amp-dtype bfloat16 --channels-last --clip-mode agc --model-ema, and with
           --torchcompile where compiled; the loss is not read
"""

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import timm
import torch
from timm.loss import SoftTargetCrossEntropy
from timm.models import model_parameters
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from timm.utils.agc import adaptive_clip_grad
from torch import Tensor

from nfft.config.recipe import Facts, Recipe
from nfft.data.loader import Batch
from nfft.distributed.accelerator import make_accelerator
from nfft.models.build import build_network, normalize_images
from nfft.models.resolve import find_checkpoint
from nfft.recipes import imagenet
from nfft.training.objective import CrossEntropy
from nfft.training.step import optimizer_step, prepare_training

CLASSES = 1000


@dataclass(frozen=True)
class Pace:
    """How long is measured: rounds of at most `most_steps`, in about `seconds`; and the steps before."""

    seconds: float = 5
    rounds: int = 5
    most_steps: int = 20
    warm_up: int = 4


@dataclass(frozen=True)
class Setting:
    """What is trained: a timm architecture on a batch of `images` of `side` px."""

    network: str
    side: int
    images: int
    device: torch.device

    def recipe(self, *, compiled: bool = False) -> Recipe:
        """The paper's, at a rate that is safe on one batch of noise."""
        facts = Facts(10**6, CLASSES, 400, self.network, self.side, self.side, False, self.images)
        return replace(imagenet.recipe(facts), lr=1e-3, train_resolution=self.side, compile=compiled)

    def batch(self) -> Batch:
        """Noise on the device, as normalised floats, with mixed labels."""
        torch.manual_seed(0)
        images = torch.randn(self.images, 3, self.side, self.side, device=self.device)
        labels = torch.arange(self.images, device=self.device) % CLASSES
        ratios = torch.full((self.images,), 0.7, device=self.device)
        return Batch(images.contiguous(memory_format=torch.channels_last), labels, labels.flip(0), ratios, labels, [])


@dataclass
class Stepper:
    """One way to train.

    Attributes:
        step: takes a training step.
        gradients: when the gradients of each step were there.
    """

    step: Callable[[], Any]
    gradients: list[Any]


def by_nfft(setting: Setting, *, compiled: bool = False, batches: Iterator[Batch] | None = None) -> Stepper:
    """nfft's loop, over one batch that stays on the device or over `batches` of a loader."""
    recipe, accelerator = setting.recipe(compiled=compiled), make_accelerator("bf16")
    names = [str(number) for number in range(CLASSES)]
    source = find_checkpoint(f"scratch:{setting.network}", {})
    with setting.device:
        network = build_network(source, names, dropout=recipe.dropout, stochastic_depth=recipe.stochastic_depth)
    training = prepare_training(network, recipe, accelerator)
    gradients, backward = [], accelerator.backward

    def marked(loss: Tensor) -> None:
        backward(loss)
        gradients.append(mark(setting.device))

    accelerator.backward = marked
    mean, std = (
        torch.tensor(source.preprocessing[name], device=setting.device).view(3, 1, 1) for name in ("mean", "std")
    )
    source_of_batches = batches or itertools.repeat(setting.batch())

    def to_input(images: Tensor) -> Tensor:
        if batches is None:
            return images
        return normalize_images(images.to(setting.device, non_blocking=True), mean, std)

    training.model.train()
    return Stepper(
        lambda: optimizer_step(training, [next(source_of_batches)], recipe, accelerator, to_input), gradients
    )


def by_timm(setting: Setting, *, compiled: bool = False, clips: bool = True) -> Stepper:
    """The steps of timm's train.py; without AGC where a network has batch normalisation."""
    recipe, device = setting.recipe(), setting.device
    with device:
        network = timm.create_model(
            setting.network, num_classes=CLASSES, drop_rate=recipe.dropout, drop_path_rate=recipe.stochastic_depth
        )
    network.to(memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(
        network, opt="sgd", lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum
    )
    average = ModelEmaV3(network, decay=recipe.ema_decay)
    called = torch.compile(network) if compiled else network
    batch, loss_of, gradients = setting.batch(), SoftTargetCrossEntropy(), []
    targets = CrossEntropy(CLASSES).targets(batch, device)
    targets = targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / CLASSES
    count = itertools.count(1)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(called(batch.images), targets)
        loss.backward()
        gradients.append(mark(device))
        if clips:
            adaptive_clip_grad(model_parameters(called, exclude_head=True), recipe.clipping)
        optimizer.step()
        optimizer.zero_grad()
        average.update(called, step=next(count))

    return Stepper(step, gradients)


def mark(device: torch.device) -> Any:
    """A moment: on a GPU, when it comes to what it is told next."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def milliseconds(start: Any, end: Any) -> float:
    """Between two moments; on a GPU once it has come to both."""
    return 1000 * (end - start) if isinstance(start, float) else start.elapsed_time(end)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def release(device: torch.device) -> None:
    """Give back what the last networks held."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@dataclass
class Timed:
    """What one way to train took.

    Attributes:
        rounds: ms of each step, by round.
        after: ms of each step from the gradients to the end: AGC, SGD, the average, and what the loop does besides.
        first: seconds to be ready and take the first step, compilation included.
        memory: GiB at the peak, beyond what other networks held.
        computing: ms of a step in which the GPU computes.
        profile: what it computes, longest first.
    """

    rounds: list[list[float]] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    first: float = 0.0
    memory: float | None = None
    computing: float | None = None
    profile: str = ""

    @property
    def ms(self) -> list[float]:
        return [step for each in self.rounds for step in each]


def compare(ways: dict[str, Callable[[], Stepper]], device: torch.device, pace: Pace) -> dict[str, Timed]:
    """Time several ways to train in turn, A B A B; `ways` makes them, and they are in memory together."""
    release(device)
    steppers, found, one_each = {}, {}, 0.0
    for name, make in ways.items():
        steppers[name], found[name] = warmed(make, device, pace)
        began = time.perf_counter()
        run(steppers[name], device, 1, Timed())
        one_each += time.perf_counter() - began
    steps = min(pace.most_steps, max(1, int(pace.seconds / pace.rounds / one_each)))
    for _ in range(pace.rounds):
        for name, stepper in steppers.items():
            run(stepper, device, steps, found[name])
    for name, stepper in steppers.items():
        found[name].computing, found[name].profile = profiled(stepper, device)
    return found


def warmed(make: Callable[[], Stepper], device: torch.device, pace: Pace) -> tuple[Stepper, Timed]:
    """A way to train that has taken its first steps."""
    on_gpu = device.type == "cuda"
    before = torch.cuda.memory_allocated() if on_gpu else 0
    began = time.perf_counter()
    stepper, timed = make(), Timed()
    run(stepper, device, 1, Timed())
    timed.first = time.perf_counter() - began
    # The workspace of cuDNN's search is no part of training.
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run(stepper, device, pace.warm_up, Timed())
    if on_gpu:
        timed.memory = (torch.cuda.max_memory_allocated() - before) / 2**30
    return stepper, timed


def run(stepper: Stepper, device: torch.device, steps: int, into: Timed) -> None:
    """Take steps without waiting in between, and note how long each took."""
    stepper.gradients.clear()
    wait(device)
    ends = [mark(device)]
    for _ in range(steps):
        stepper.step()
        ends.append(mark(device))
    wait(device)
    into.rounds.append([milliseconds(start, end) for start, end in itertools.pairwise(ends)])
    into.after += [milliseconds(ready, end) for ready, end in zip(stepper.gradients, ends[1:], strict=True)]


def profiled(stepper: Stepper, device: torch.device) -> tuple[float | None, str]:
    """How long a GPU computes in a step, in ms, and a table of its kernels, longest first."""
    if device.type != "cuda":
        return None, ""
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            run(stepper, device, 1, Timed())
        averages = profile.key_averages()
        kernels = [each for each in averages if each.device_type.name == "CUDA" and not each.is_user_annotation]
        table = averages.table(sort_by="self_cuda_time_total", row_limit=40)
    except Exception as error:  # without a profile, times are worth as much
        return None, f"no profile: {error}"
    return sum(each.self_device_time_total for each in kernels) / 1000, table


def middle(values: list[float]) -> tuple[float, float, float]:
    """Median and quartiles."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * values
    return median, low, high
