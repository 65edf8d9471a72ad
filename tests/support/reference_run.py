"""A small F-style network, trained by nfft and by the reference on the same images; a program for torchrun too."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from unittest import mock

import numpy as np
import timm
import torch
from accelerate import Accelerator
from loop import steps_of
from reference import Arrays, Reference, Settings
from torch import Tensor, nn

from nfft.config.recipe import Recipe
from nfft.data.loader import Batch, MicroBatches
from nfft.distributed.accelerator import make_accelerator
from nfft.runs.records import StepMetrics
from nfft.training.step import prepare_training

CLASSES, IMAGES, SEED = 7, 40, 3
NET = {
    "depths": (1, 2, 1, 1),
    "channels": (32, 48, 64, 64),
    "stem_chs": 16,
    "group_size": 8,
    "num_features": 64,
    "num_classes": CLASSES,
}
RECIPE = Recipe(
    total_steps=6,
    warmup_fraction=0.3,
    batch_size=12,
    accumulation_steps=2,
    lr=0.2,
    weight_decay=0.01,
    clipping=0.05,
    ema_decay=0.5,
    label_smoothing=0.1,
    train_resolution=32,
    test_resolution=32,
)
# The paper's fifth of 6 images is one; two of them say more about which they are.
SAM = {"sam_rho": 0.05, "sam_share": 0.4}
# What two processes train: four micro-batches a step, and with SAM two, each with an ascent of its own.
SHARED = {
    "plain": RECIPE,
    "sam": replace(RECIPE, accumulation_steps=1, sam_rho=0.05),
}


def network(**changes: object) -> nn.Module:
    """The network, with every parameter drawn at random: none is where its initialization would hide it."""
    model = timm.create_model("dm_nfnet_f0", **{**NET, "std_conv_eps": 1e-12, **changes})
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        draw = rng.standard_normal(parameter.shape)
        if name.endswith("gain"):
            draw = (1 if parameter.ndim else 0.5) + 0.2 * draw
        elif name.endswith("bias"):
            draw = 0.1 * draw
        else:
            draw = draw * (0.03 if name == "head.fc.weight" else draw[0].size ** -0.5)
        parameter.data = torch.from_numpy(np.asarray(draw, np.float32))
    return model


def state(model: nn.Module) -> Arrays:
    """The state dict of a network in float64."""
    return {name: tensor.detach().double().numpy() for name, tensor in model.state_dict().items()}


def batches(recipe: Recipe, *, double: bool, rank: int = 0, processes: int = 1) -> Iterator[Batch]:
    """The micro-batches of one process, as nfft's loader cuts a run over IMAGES random images.

    Both precisions start from the same numbers: those of float32, and 64ths.
    """
    rng = np.random.default_rng(1)
    side = recipe.train_resolution
    images = rng.standard_normal((IMAGES, 3, side, side), np.float32)
    labels, partners = rng.integers(CLASSES, size=(2, IMAGES))
    ratios = (rng.integers(65, size=IMAGES) / 64).astype(np.float64 if double else np.float32)
    assert recipe.total_steps is not None
    steps = range(recipe.total_steps)
    for keys in MicroBatches(IMAGES, recipe, SEED, steps=steps, rank=rank, processes=processes):
        chosen = np.array([key.index for key in keys])
        columns = [torch.from_numpy(column[chosen]) for column in (images, labels, partners, ratios, np.arange(IMAGES))]
        yield Batch(*columns, broken=[])


def by_nfft(recipe: Recipe, accelerator: Accelerator, *, double: bool) -> tuple[Arrays, list[StepMetrics]]:
    """What nfft's training makes of the network in float32 or float64, as `flat` has it, and its reports."""
    # To float32 an eps of 1e-12 is nothing; float64 sees it in the tenth digit.
    model = network(std_conv_eps=1e-20).double() if double else network()
    training = prepare_training(model, recipe, accelerator)
    mine = batches(recipe, double=double, rank=accelerator.process_index, processes=accelerator.num_processes)
    assert recipe.total_steps is not None
    with in_double() if double else nullcontext():
        reports = steps_of(
            training, mine, recipe, accelerator, total_steps=recipe.total_steps, seed=SEED, to_input=Tensor.float
        )
    assert training.ema is not None
    momentum = {name: training.optimizer.state[p]["momentum_buffer"] for name, p in model.named_parameters()}
    kinds = {"weights": model.state_dict(), "momentum": momentum, "average": training.ema.average}
    return flat({kind: {n: t.double().numpy() for n, t in tensors.items()} for kind, tensors in kinds.items()}), reports


def in_double() -> AbstractContextManager:
    """Where nfft asks for float32, which is for mixed precision, it gets float64: rounding then hides nothing."""
    return mock.patch.object(Tensor, "float", Tensor.double)


def by_reference(recipe: Recipe, **changes: object) -> Reference:
    """The reference's run of what one process trains; `changes` are of its settings."""
    assert recipe.total_steps is not None
    names = {field.name for field in fields(Settings)} & {field.name for field in fields(Recipe)}
    settings = {name: getattr(recipe, name) for name in names}
    settings["warmup_steps"] = round(recipe.warmup_fraction * recipe.total_steps)
    micro_batches = [(batch.images.double().numpy(), probabilities(batch)) for batch in batches(recipe, double=True)]
    steps = zip(*[iter(micro_batches)] * (recipe.accumulation_steps or 1), strict=True)
    return Reference(state(network()), Settings(**{**settings, **changes})).run(steps)


def probabilities(batch: Batch) -> np.ndarray:
    """Of each class for each image: its own by its ratio, its partner's by the rest."""
    one_hot, ratios = np.eye(CLASSES), batch.ratios.numpy()[:, None]
    return one_hot[batch.labels.numpy()] * ratios + one_hot[batch.partners.numpy()] * (1 - ratios)


def flat(kinds: dict[str, Arrays]) -> Arrays:
    """{"weights": {"head.fc.bias": ...}} as {"weights head.fc.bias": ...}."""
    return {f"{kind} {name}": array for kind, arrays in kinds.items() for name, array in arrays.items()}


def result(reference: Reference) -> Arrays:
    """Where a reference stands, as `flat` has it."""
    return flat({kind: getattr(reference, kind) for kind in ("weights", "momentum", "average")})


def distance(actual: Arrays, expected: Arrays, kind: str = "") -> float:
    """The largest difference between arrays of a kind, as a share of the array's largest element."""
    assert actual.keys() == expected.keys()
    # numpy's maximum lets no NaN pass for a number.
    return float(
        np.max([np.abs(actual[n] - w).max() / np.abs(w).max() for n, w in expected.items() if n.startswith(kind)])
    )


def main(folder: Path) -> None:
    """Train what processes share, each process its part, in both precisions; each saves what it ends with."""
    accelerator = make_accelerator("fp32")
    for case, recipe in SHARED.items():
        for double in (False, True):
            actual, reports = by_nfft(recipe, accelerator, double=double)
            precision = "double" if double else "single"
            seen = {name: np.array([getattr(report, name) for report in reports]) for name in ("loss", "clipped")}
            np.savez(folder / f"{case}-{precision}-{accelerator.process_index}.npz", **actual, **seen)
    accelerator.end_training()


if __name__ == "__main__":
    # As the command does: torch writes the strides of 1x1 convolutions in two ways for the same memory.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    main(Path(sys.argv[1]))
