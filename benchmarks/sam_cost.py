"""What SAM costs: a training step with it against one without, interleaved.

    python benchmarks/sam_cost.py

Prints medians over rounds of A B A B steps, and the ratio in each round; synthetic images, so no loader is in the way.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch

from nfft.config.recipe import Recipe
from nfft.data.loader import Batch
from nfft.distributed.accelerator import make_accelerator
from nfft.models.build import build_network
from nfft.models.resolve import find_checkpoint
from nfft.training.step import Training, optimizer_step, prepare_training

CLASSES = 10


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="scratch:nf_resnet26")
    arguments.add_argument("--side", type=int, default=64)
    arguments.add_argument("--batch", type=int, default=40)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--precision", default="auto")
    given = arguments.parse_args()

    accelerator = make_accelerator(given.precision)
    network = build_network(
        find_checkpoint(given.model, {}), [str(n) for n in range(CLASSES)], dropout=0, stochastic_depth=0
    )
    plain = Recipe(
        total_steps=1,
        warmup_fraction=0,
        batch_size=given.batch,
        lr=0.01,
        weight_decay=1e-5,
        clipping=0.02,
        ema_decay=None,
        train_resolution=given.side,
        test_resolution=given.side,
    )
    training = prepare_training(network, plain, accelerator)
    batch = synthetic(given.batch, given.side)
    recipes = {"plain": plain, "SAM": replace(plain, sam_rho=0.05)}
    seconds: dict[str, list[float]] = {name: [] for name in recipes}
    for number in range(given.rounds + 2):
        for name, recipe in recipes.items():
            taken = step_seconds(training, batch, recipe, accelerator)
            if number >= 2:
                seconds[name].append(taken)
    ratios = [sam / alone for sam, alone in zip(seconds["SAM"], seconds["plain"], strict=True)]
    quarters = statistics.quantiles(ratios, n=4)
    device = f"{torch.get_num_threads()} threads" if accelerator.device.type == "cpu" else torch.cuda.get_device_name()
    print(f"{given.model}, {given.batch} images of {given.side} px, {given.precision}, {device}")
    for name, taken in seconds.items():
        print(f"{name:6} {1000 * statistics.median(taken):8.1f} ms a step")
    print(f"ratio  {statistics.median(ratios):8.2f}    (quartiles {quarters[0]:.2f} to {quarters[2]:.2f})")


def synthetic(size: int, side: int) -> Batch:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, generator=draw)
    labels = torch.arange(size) % CLASSES
    images = images.contiguous(memory_format=torch.channels_last)
    return Batch(images, labels, labels, torch.ones(size), torch.arange(size), broken=[])


def step_seconds(training: Training, batch: Batch, recipe: Recipe, accelerator: object) -> float:
    began = time.perf_counter()
    loss, _, _ = optimizer_step(
        training, [batch], recipe, accelerator, lambda images: images.to(accelerator.device).float() / 128 - 1
    )
    loss.item()  # waits for a GPU
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
