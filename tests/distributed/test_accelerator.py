"""A precision goes with everything else that a recipe may ask for."""

from collections.abc import Iterator

import pytest
import timm
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from nfft.config.recipe import Recipe
from nfft.data.loader import Batch
from nfft.distributed.accelerator import make_accelerator
from nfft.training.step import optimizer_step, prepare_training


@pytest.fixture
def half() -> Iterator[Accelerator]:
    """One process in bf16, of which nothing is left for the next test."""
    yield make_accelerator("bf16")
    AcceleratorState._reset_state(reset_partial_state=True)


def test_bf16_with_sam_and_gradient_checkpointing(half: Accelerator) -> None:
    recipe = Recipe(
        total_steps=8,
        warmup_fraction=0,
        batch_size=8,
        lr=0.02,
        weight_decay=0.01,
        clipping=0.1,
        sam_rho=0.05,
        ema_decay=None,
        gradient_checkpointing=True,
        train_resolution=32,
        test_resolution=32,
        test_margin=0,
    )
    network = timm.create_model("test_nfnet", num_classes=4)
    training = prepare_training(network, recipe, half)
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 4
    batch = Batch(images, labels, labels, torch.ones(8), torch.arange(8), [])
    losses = [float(optimizer_step(training, [batch], recipe, half, Tensor.float)[0]) for _ in range(8)]
    assert losses[-1] < losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
