"""One optimizer step of training, as in arXiv 2102.06171, and everything that it changes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from nfft.config.method import Method
from nfft.config.recipe import Recipe, decays_of
from nfft.data.loader import Batch
from nfft.errors import UserError
from nfft.optim.averages import Averages
from nfft.optim.ema import Ema
from nfft.optim.optimizers import make_optimizer
from nfft.optim.param_groups import classifier, optimizer_groups
from nfft.optim.sam import perturbed
from nfft.optim.step import Update, fastest_update
from nfft.training.objective import Objective, objective_of


@dataclass
class Training:
    """Everything that changes during a run, and what changes it.

    Attributes:
        network: the bare network.
        model: the same, wrapped by accelerate for precision and processes.
        optimizer: the recipe's, wrapped by accelerate for the scaler of fp16.
        ema: the average of the weights, or None.
        averages: further ones, or None.
        update: AGC, a step of the optimizer and one of the average.
        objective: what the steps minimize.
        method: what of the network is trained.
        step: optimizer steps done.
    """

    network: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    update: Update
    objective: Objective
    method: Method = field(default_factory=Method)
    averages: Averages | None = None
    step: int = 0

    def state(self) -> dict[str, Tensor]:
        """What it goes on from, by name: `model.` weights and buffers, `optimizer.`, `ema.` and `averages.`."""
        kept = {
            f"optimizer.{kind}.{name}": value
            for name, parameter in self.network.named_parameters()
            for kind, value in self.optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }
        average = self.ema.average if self.ema is not None else {}
        further = self.averages.state() if self.averages is not None else {}
        return {
            **{f"model.{name}": tensor for name, tensor in self.network.state_dict().items()},
            **kept,
            **{f"ema.{name}": tensor for name, tensor in average.items()},
            **{f"averages.{name}": tensor for name, tensor in further.items()},
        }

    def load(self, state: Mapping[str, Tensor], step: int) -> None:
        """Go on from what `state` returned after so many steps."""
        self.network.load_state_dict({name: state[f"model.{name}"] for name in self.network.state_dict()})
        parameters = dict(self.network.named_parameters())
        for key, tensor in state.items():
            owner, _, rest = key.partition(".")
            # As earlier releases called what SGD keeps.
            kind, _, name = f"momentum_buffer.{rest}".partition(".") if owner == "momentum" else rest.partition(".")
            if owner in ("momentum", "optimizer"):
                own = self.optimizer.state.setdefault(parameters[name], {})
                own[kind] = self._placed(kind, tensor, parameters[name])
        if self.ema is not None:
            for name, tensor in self.ema.average.items():
                tensor.copy_(state[f"ema.{name}"])
            self.ema.step = step
        if self.averages is not None:
            self.averages.load({name.removeprefix("averages."): state[name] for name in state})
        self.step = step

    def _placed(self, kind: str, tensor: Tensor, parameter: Tensor) -> Tensor:
        """What the optimizer keeps of a parameter, where and in which order in memory it keeps it."""
        if kind == "step":
            # Steps are counted on the CPU, unless one pass over memory does everything.
            on_device = any(group.get("fused") for group in self.optimizer.param_groups)
            return tensor.to(parameter.device if on_device else "cpu", copy=True)
        return torch.empty_like(parameter).copy_(tensor)


def prepare_training(
    network: nn.Module, recipe: Recipe, accelerator: Accelerator, method: Method | None = None
) -> Training:
    """The network on its device with optimizer and average, ready for the first step.

    Args:
        method: what of it is trained, once that has prepared it; everything when absent.
    """
    method = method or Method()
    network.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(
        recipe.optimizer,
        network,
        optimizer_groups(network, recipe.weight_decay, method.scales(network)),
        lr=recipe.lr,
        momentum=recipe.momentum,
        # Decay, momentum and step in one pass over memory. With a loss scaler, steps are skipped from outside.
        fused=accelerator.scaler is None and accelerator.device.type in ("cpu", "cuda"),
    )
    ema = Ema(network, recipe.ema_decay, recipe.ema_warmup) if recipe.ema_decay is not None else None
    decays, last = decays_of(recipe.averages), recipe.soup_of_last
    averages = Averages(network, decays, last) if decays or last is not None else None
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
    objective = objective_of(recipe, classifier(network).weight.shape[0])
    return Training(network, model, optimizer, ema, update, objective, method, averages)


def optimizer_step(
    training: Training,
    micro_batches: Sequence[Batch],
    recipe: Recipe,
    accelerator: Accelerator,
    to_input: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient of the mean loss over `micro_batches`, at SAM's weights if asked for, and the update by it.

    Args:
        to_input: uint8 images (n, 3, h, w) -> normalized floats on the device.

    Returns:
        This process's mean loss and top-1, and the fraction of units clipped; scalars on the device.
    """
    losses, hits, objective = [], [], training.objective
    for position, batch in enumerate(micro_batches):
        images, targets = to_input(batch.images), objective.targets(batch, accelerator.device)
        last = position == len(micro_batches) - 1
        synchronized = nullcontext() if last else accelerator.no_sync(training.model)
        with ascent(training, images, targets, recipe, accelerator), synchronized:
            logits = training.model(images).float()
            loss = objective.loss(logits, targets)
            accelerator.backward(loss / len(micro_batches))
        losses.append(loss.detach())
        hits.append(objective.accuracy(logits.detach(), batch))

    # fp16 gradients are scaled by the loss scaler: clip what the weights will really see.
    accelerator.unscale_gradients(training.optimizer)
    floors = training.method.floors(training.network)
    share_clipped = training.update(clipping=recipe.clipping, floors=floors)
    if training.averages is not None:
        training.averages.update(training.network)
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
    loss = training.objective.loss(logits, targets[part])
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
