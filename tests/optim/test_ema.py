"""The average follows the paper's formula and never touches the network."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from nfft.optim.ema import Ema


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


def move(network: nn.Module, draw: torch.Generator) -> None:
    """Something like a training step: new weights and running statistics, one more batch counted."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=draw))
            else:
                tensor.add_(1)


@pytest.mark.parametrize("decay", [0.3, 0.9999])
def test_agrees_with_float64_reference(decay: float) -> None:
    network, draw = make(), torch.Generator().manual_seed(1)
    ema = Ema(network, decay)
    expected = {name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()}
    for step in range(20):
        move(network, draw)
        assert ema.step == step
        ema.update(network)
        d = min(decay, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            expected[name] = d * expected[name] + (1 - d) * tensor.numpy().astype(np.float64)
    for name, tensor in ema.average.items():
        if tensor.is_floating_point():
            np.testing.assert_allclose(tensor.numpy(), expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
        else:
            assert tensor.item() == 20, name


def test_decay_warms_up_to_its_limit() -> None:
    ema = Ema(make(), 0.999)
    assert ema.decay_at(0) == 0.1
    assert ema.decay_at(90) == 0.91
    assert ema.decay_at(8990) == 0.999
    assert ema.decay_at(10**6) == 0.999


def test_without_warmup_the_decay_is_the_same_at_every_step() -> None:
    ema = Ema(make(), 0.999, warmup=False)
    assert {ema.decay_at(step) for step in (0, 90, 10**6)} == {0.999}


def test_continues_from_its_step() -> None:
    network, draw = make(), torch.Generator().manual_seed(1)
    whole, resumed = Ema(network, 0.9999), Ema(network, 0.9999)
    for _ in range(5):
        move(network, draw)
        whole.update(network)
    resumed.average = {name: tensor.clone() for name, tensor in whole.average.items()}
    resumed.step = whole.step
    assert resumed.step == 5
    for _ in range(3):
        move(network, draw)
        whole.update(network)
        resumed.update(network)
    for name, tensor in whole.average.items():
        assert torch.equal(resumed.average[name], tensor), name


@pytest.mark.parametrize("decay", [1, 1.5, -0.1, float("nan")])
def test_a_decay_out_of_range(decay: float) -> None:
    with pytest.raises(ValueError, match=f"decay of an average must be at least 0 and below 1; got {decay}"):
        Ema(make(), decay)


def test_a_decay_of_0_is_the_network_itself() -> None:
    network = make()
    ema = Ema(network, 0)
    move(network, torch.Generator().manual_seed(0))
    ema.update(network)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(ema.average[name], tensor)


def test_network_keeps_its_own_weights() -> None:
    network = make().eval()
    ema = Ema(network, 0.99)
    images = torch.randn(2, 3, 4, 4)
    for step in range(3):
        move(network, torch.Generator().manual_seed(step))
        ema.update(network)
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    averaged = {name: tensor.clone() for name, tensor in ema.average.items()}
    answer = ema(network, images)

    loaded = copy.deepcopy(network)
    loaded.load_state_dict(ema.average)
    assert torch.equal(answer, loaded(images))
    assert not torch.equal(answer, network(images))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, own[name]), name
        assert torch.equal(ema.average[name], averaged[name]), name


def test_average_starts_as_a_copy() -> None:
    network = make()
    ema = Ema(network, 0.99)
    before = {name: tensor.clone() for name, tensor in ema.average.items()}
    move(network, torch.Generator().manual_seed(0))
    assert all(torch.equal(ema.average[name], tensor) for name, tensor in before.items())
