"""Training, as in arXiv 2102.06171: one optimizer step, and the loop around it."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from nfft.config.method import Method
from nfft.config.recipe import Recipe
from nfft.data.loader import Batch
from nfft.data.scan import BrokenImage
from nfft.errors import UserError
from nfft.optim.ema import Ema
from nfft.optim.param_groups import classifier, optimizer_groups
from nfft.optim.sam import perturbed
from nfft.optim.schedule import learning_rate
from nfft.optim.step import Update, fastest_update


class Diverged(UserError):
    """A loss that is not finite, with where it was seen and what to do."""

    def __init__(self, what: str, loss: float, recipe: Recipe) -> None:
        harder = (
            "clip gradients with --set clipping=0.01"
            if recipe.clipping is None
            else f"clip harder with --set clipping={recipe.clipping / 4:g} (now {recipe.clipping:g})"
        )
        super().__init__(f"{what} is {loss}: training diverged. Lower --lr (now {recipe.lr:g}) or {harder}.")


@dataclass
class Training:
    """Everything that changes during a run.

    Attributes:
        network: the bare network.
        model: the same, wrapped by accelerate for precision and processes.
        optimizer: SGD, wrapped by accelerate for the scaler of fp16.
        ema: the average of the weights, or None.
        update: AGC, a step of the optimizer and one of the average.
        method: what of the network is trained.
        step: optimizer steps done.
    """

    network: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    update: Update
    method: Method = field(default_factory=Method)
    step: int = 0

    @property
    def classes(self) -> int:
        return classifier(self.network).weight.shape[0]

    def state(self) -> dict[str, Tensor]:
        """What it goes on from: `model.` weights and buffers, `momentum.` and `ema.`, by name."""
        momentum = {
            name: self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            for name, parameter in self.network.named_parameters()
        }
        average = self.ema.average if self.ema is not None else {}
        return {
            **{f"model.{name}": tensor for name, tensor in self.network.state_dict().items()},
            **{f"momentum.{name}": tensor for name, tensor in momentum.items() if tensor is not None},
            **{f"ema.{name}": tensor for name, tensor in average.items()},
        }

    def load(self, state: Mapping[str, Tensor], step: int) -> None:
        """Go on from what `state` returned after so many steps."""
        self.network.load_state_dict({name: state[f"model.{name}"] for name in self.network.state_dict()})
        for name, parameter in self.network.named_parameters():
            if f"momentum.{name}" in state:
                buffer = torch.empty_like(parameter).copy_(state[f"momentum.{name}"])
                self.optimizer.state[parameter] = {"momentum_buffer": buffer}
        if self.ema is not None:
            for name, tensor in self.ema.average.items():
                tensor.copy_(state[f"ema.{name}"])
            self.ema.step = step
        self.step = step


@dataclass(frozen=True)
class Step:
    """One optimizer step, over all processes: mean loss, top-1 on augmented images, units clipped, in [0, 1]."""

    step: int
    loss: float
    top1: float
    clipped: float
    lr: float
    stop: bool
    images_per_second: float
    broken: list[BrokenImage] = field(default_factory=list)


def prepare_training(
    network: nn.Module, recipe: Recipe, accelerator: Accelerator, method: Method | None = None
) -> Training:
    """The network on its device with optimizer and average, ready for the first step.

    Args:
        method: what of it is trained, once that has prepared it; everything when absent.
    """
    method = method or Method()
    network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        optimizer_groups(network, recipe.weight_decay, method.scales(network)),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        # Decay, momentum and step in one pass over memory. With a loss scaler, steps are skipped from outside.
        fused=accelerator.scaler is None and accelerator.device.type in ("cpu", "cuda"),
    )
    ema = Ema(network, recipe.ema_decay, recipe.ema_warmup) if recipe.ema_decay is not None else None
    if recipe.gradient_checkpointing:
        try:
            network.set_grad_checkpointing(True)  # type: ignore[operator]
        except (AttributeError, AssertionError) as error:
            name = type(network).__name__
            raise UserError(f"{name} has no gradient checkpointing. Use --set gradient_checkpointing=false.") from error
    if recipe.compile:
        network.compile()
    model, optimizer = accelerator.prepare(network, optimizer)
    scaled = accelerator.scaler is not None
    update = fastest_update(network, optimizer, ema, scaled=scaled, whole_gains=recipe.clip_whole_gains)
    return Training(network, model, optimizer, ema, update, method)


def train(
    training: Training,
    batches: Iterator[Batch],
    recipe: Recipe,
    accelerator: Accelerator,
    *,
    total_steps: int,
    seed: int,
    to_input: Callable[[Tensor], Tensor],
    stop_requested: Callable[[], bool],
) -> Iterator[Step]:
    """Take optimizer steps until the run is done or someone asks to stop, reporting each.

    Args:
        batches: this process's micro-batches, from training.step on.
        to_input: uint8 images -> normalised floats on the device.
        stop_requested: polled once a step; when any process says yes, all stop after the same step.

    Raises:
        Diverged: at the first step whose loss is not finite.
    """
    warmup_steps = round(recipe.warmup_fraction * total_steps)
    training.model.train()
    while training.step < total_steps:
        began, step = time.perf_counter(), training.step
        lr = learning_rate(step, peak=recipe.lr, total_steps=total_steps, warmup_steps=warmup_steps)
        for group in training.optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        # Dropout and stochastic depth depend on (seed, step, process) alone, so a resumed run draws the same.
        torch.manual_seed(step_seed(seed, step, accelerator.process_index))

        micro_batches = [next(batches) for _ in range(recipe.parts)]
        loss, top1, share_clipped = optimizer_step(training, micro_batches, recipe, accelerator, to_input)

        stop = torch.full((), float(stop_requested()), device=accelerator.device)
        totals = accelerator.reduce(torch.stack([loss, top1, share_clipped, stop]), reduction="mean").tolist()
        # With fp16, gradients overflow now and then: its scaler has skipped the step and lowers the scale. When that
        # happens in SAM's ascent, there is no loss to speak of either.
        skipped = accelerator.scaler is not None and not math.isfinite(totals[2])
        if not math.isfinite(totals[0]) and not (skipped and recipe.sam_rho is not None):
            raise Diverged(f"the loss at step {step + 1}", totals[0], recipe)
        if not math.isfinite(totals[2]) and not skipped:
            raise Diverged(f"a gradient at step {step + 1}", totals[2], recipe)
        training.step += 1
        yield Step(
            step=training.step,
            loss=totals[0],
            top1=totals[1],
            clipped=totals[2],
            lr=lr,
            stop=totals[3] > 0,
            images_per_second=recipe.batch_size / (time.perf_counter() - began),
            broken=[broken for batch in micro_batches for broken in batch.broken],
        )
        if totals[3] > 0:
            return


def optimizer_step(
    training: Training,
    micro_batches: list[Batch],
    recipe: Recipe,
    accelerator: Accelerator,
    to_input: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the mean loss over `micro_batches`, at SAM's weights if asked for, and the update by it.

    Returns:
        This process's mean loss and top-1, and the fraction of units clipped; scalars on the device.
    """
    losses, hits = [], []
    for position, batch in enumerate(micro_batches):
        images, targets = to_input(batch.images), mixed_targets(batch, training.classes, accelerator.device)
        # A copy asked for after the forward pass would make the host wait for that.
        labels = batch.labels.to(accelerator.device, non_blocking=True)
        last = position == len(micro_batches) - 1
        synchronised = nullcontext() if last else accelerator.no_sync(training.model)
        with ascent(training, images, targets, recipe, accelerator), synchronised:
            logits = training.model(images).float()
            loss = F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)
            accelerator.backward(loss / len(micro_batches))
        losses.append(loss.detach())
        hits.append((logits.detach().argmax(1) == labels).float().mean())

    # fp16 gradients are scaled by the loss scaler: clip what the weights will really see.
    accelerator.unscale_gradients(training.optimizer)
    floors = training.method.floors(training.network)
    share_clipped = training.update(clipping=recipe.clipping, floors=floors)
    training.optimizer.zero_grad()
    return torch.stack(losses).mean(), torch.stack(hits).mean(), share_clipped


@contextmanager
def ascent(
    training: Training, images: Tensor, targets: Tensor, recipe: Recipe, accelerator: Accelerator
) -> Iterator[None]:
    """SAM's step uphill on the first fifth of a micro-batch, undone at the end; nothing where the recipe has no SAM.

    Source: arXiv 2102.06171, section 5: another batch would not do, and each process and each part of an accumulated
    batch climbs by itself.
    """
    if recipe.sam_rho is None:
        yield
        return
    part = slice(max(1, round(recipe.sam_share * len(images))))
    # Running statistics, where a network has them, are to see each image once.
    statistics = list(training.network.buffers())
    before = [buffer.clone() for buffer in statistics]
    # The bare network: no other process is to hear of this gradient.
    logits = training.network(images[part]).float()
    loss = F.cross_entropy(logits, targets[part], label_smoothing=recipe.label_smoothing)
    loss = loss if accelerator.scaler is None else accelerator.scaler.scale(loss)
    with perturbed(training.network.parameters(), loss, recipe.sam_rho):
        for buffer, value in zip(statistics, before, strict=True):
            buffer.copy_(value)
        yield
    # Where fp16's ascent has overflowed, the step will be skipped: nothing of it is to stay.
    if accelerator.scaler is not None:
        for buffer, value in zip(statistics, before, strict=True):
            buffer.copy_(torch.where(buffer.isfinite(), buffer, value))


def step_seed(*parts: int) -> int:
    """One well-mixed 64-bit seed out of several small numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def mixed_targets(batch: Batch, classes: int, device: torch.device) -> Tensor:
    """Class probabilities (n, classes) of a batch: each image's own class by its ratio, its partner's by the rest."""
    labels, partners = (labels.to(device, non_blocking=True) for labels in (batch.labels, batch.partners))
    ratios = batch.ratios.to(device, non_blocking=True)[:, None]
    return F.one_hot(labels, classes) * ratios + F.one_hot(partners, classes) * (1 - ratios)
