"""What a step needs is what it is seen to keep, and a batch is taken in no more parts than that asks for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nfft.config.recipe import change
from nfft.config.run_config import RunConfig
from nfft.machine import memory_of
from nfft.models.build import build_network
from nfft.models.checkpoint import random_checkpoint
from nfft.training import memory
from nfft.training.memory import COPIES, USABLE, fewest_parts, learns_from_one, saved_values
from nfft.training.plan import Plan, make_plan
from nfft.training.trainer import Trainer

SIDE = 32
CPU = torch.device("cpu")


def network(architecture: str, dropout: float = 0.0, stochastic_depth: float = 0.0) -> nn.Module:
    source = random_checkpoint(architecture, {})
    return build_network(source, list("abcde"), dropout=dropout, stochastic_depth=stochastic_depth)


def seen(net: nn.Module, side: int, images: int) -> int:
    """Numbers that a forward pass of `images` images keeps for its backward pass, the weights among them."""
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(torch.randn(images, 3, side, side))
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values())


@pytest.mark.parametrize("side", [32, 96])
@pytest.mark.parametrize(
    ("architecture", "regularisation"),
    [
        ("test_nfnet", {}),
        ("test_nfnet", {"dropout": 0.25, "stochastic_depth": 0.1}),
        ("eca_nfnet_l0", {}),  # its gates are expanded, which takes no memory
        ("resnet10t", {}),
        ("test_resnet", {"dropout": 0.25}),
    ],
)
def test_saved_values_are_those_that_a_forward_pass_keeps(architecture: str, regularisation: dict, side: int) -> None:
    net = network(architecture, **regularisation)
    torch.manual_seed(0)
    # What does not grow with the batch is not an image's.
    wanted = (seen(net, side, 6) - seen(net, side, 2)) / 4
    assert saved_values(net, side) == pytest.approx(wanted, rel=0.005)


@pytest.mark.parametrize("architecture", ["test_nfnet", "resnet10t"])
def test_saved_values_are_quadratic_in_resolution(architecture: str) -> None:
    net = network(architecture)
    assert saved_values(net, 256) == pytest.approx(4 * saved_values(net, 128), rel=0.01)
    assert saved_values(net, 512) == pytest.approx(64 * saved_values(net, 64), rel=0.02)


def test_counting_leaves_the_network_alone() -> None:
    net = network("resnet10t")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    drawn = torch.random.get_rng_state()
    saved_values(net, SIDE)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert net.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize(
    ("architecture", "side", "expected"),
    [("test_nfnet", 32, True), ("test_resnet", 32, False), ("test_resnet", 64, True)],
)
def test_batch_normalization_learns_nothing_from_a_single_pixel(architecture: str, side: int, expected: bool) -> None:
    net = network(architecture)
    assert learns_from_one(net, side) == expected
    pixels = torch.zeros(1, 3, side, side)
    if expected:
        net(pixels)
    else:
        with pytest.raises(ValueError, match="more than 1 value"):
            net(pixels)


def test_parts_keep_the_images_they_need(cut: Callable[..., int], small: nn.Module) -> None:
    assert cut(room_for(1.01, small), least=2) == 24


@pytest.fixture(scope="module")
def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 15 * 15, 5))


@pytest.fixture
def cut(small: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """In how many parts a batch is taken by a device of so many bytes."""

    def of(room: float, *, share: int = 48, even: bool = False, bytes_each: int = 4, least: int = 1) -> int:
        monkeypatch.setattr(memory, "memory_of", lambda device: room)
        return fewest_parts(small, side=SIDE, share=share, least=least, even=even, bytes_each=bytes_each, device=CPU)

    return of


def room_for(images: float, net: nn.Module, bytes_each: int = 4) -> float:
    """Bytes of a device on which a step of `images` images just fits."""
    weights = 4 * sum(parameter.numel() for parameter in net.parameters())
    return (COPIES * weights + images * saved_values(net, SIDE) * bytes_each) / USABLE


@pytest.mark.parametrize(
    ("images", "number"), [(1000, 1), (48, 1), (47, 2), (24, 2), (23, 3), (16, 3), (15, 4), (5, 12), (1, 48)]
)
def test_the_fewest_parts_that_fit(cut: Callable[..., int], small: nn.Module, images: int, number: int) -> None:
    assert cut(room_for(images + 0.01, small)) == number
    assert cut(room_for(images + 0.01, small, bytes_each=2), bytes_each=2) == number


def test_half_precision_takes_half_the_parts(cut: Callable[..., int], small: nn.Module) -> None:
    assert (cut(room_for(12.01, small)), cut(room_for(12.01, small), bytes_each=2)) == (4, 2)


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("share", [1, 2, 6, 7, 10, 30, 48, 97])
def test_parts_are_equal_and_even_where_neighbours_are_mixed(
    cut: Callable[..., int], small: nn.Module, share: int, even: bool
) -> None:
    numbers = [cut(room_for(images + 0.01, small), share=share, even=even) for images in range(1, share + 1)]
    assert numbers == sorted(numbers, reverse=True), "more room, no more parts"
    assert numbers[-1] == 1
    for images, number in enumerate(numbers, 1):
        assert share % number == 0
        if even and share % 2 == 0:
            assert share // number % 2 == 0
            assert share // number <= max(images, 2)
        elif not even:
            assert share // number <= images


@pytest.mark.parametrize(("share", "even", "number"), [(48, False, 48), (48, True, 24), (7, False, 7), (7, True, 1)])
def test_weights_that_do_not_fit_alone_still_give_a_number(
    cut: Callable[..., int], share: int, even: bool, number: int
) -> None:
    assert cut(1000, share=share, even=even) == number


def test_processes_share_the_memory_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    whole = memory_of(CPU)
    assert 2**28 < whole < 2**50
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_of(CPU) == whole // 4


@pytest.fixture(scope="module")
def planned() -> Plan:
    changes = {"batch_size": "32", "train_resolution": "32", "test_resolution": "32"}
    return make_plan(RunConfig(task="digits", model="scratch:test_nfnet", settings=changes))


@pytest.mark.parametrize(
    ("settings", "number"),
    [
        ({}, 32),
        ({"mixup": 0.2}, 16),
        ({"cutmix": True}, 16),
        ({"accumulation_steps": 1}, 1),
        ({"accumulation_steps": 4, "mixup": 0.2}, 4),
    ],
)
def test_a_run_takes_what_fits_unless_told(
    planned: Plan, accelerator, settings: dict, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_of", lambda device: 1000)
    trainer = Trainer(replace(planned, recipe=change(planned.recipe, settings)), accelerator, tmp_path)
    recipe = trainer.plan.recipe
    assert recipe.accumulation_steps == recipe.parts == number


def test_a_run_that_fits_is_not_cut(planned: Plan, accelerator, tmp_path: Path) -> None:
    assert Trainer(planned, accelerator, tmp_path).plan.recipe.parts == 1
