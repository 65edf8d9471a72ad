"""Further averages and their soup agree with sums in float64."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nfft.optim.averages import Averages, mean_of
from nfft.optim.ema import Ema

STEPS, EVALUATED = 12, (3, 6, 9, 12)


def walk(network: nn.Module) -> Iterator[int]:
    """Steps of something like training."""
    draw = torch.Generator().manual_seed(1)
    for step in range(1, STEPS + 1):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
        yield step


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))


def double(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().astype(np.float64) for name, tensor in tensors.items()}


def test_they_agree_with_a_float64_reference() -> None:
    network, decays = make(), (0.0, 0.5, 0.999)
    ema, averages = Ema(network, 0.9), Averages(network, decays, last=3)
    path = []
    for step in walk(network):
        ema.update(network)
        averages.update(network)
        if step in EVALUATED:
            averages.note_evaluation(network, step, EVALUATED)
        path.append(double(network.state_dict()))
    assert averages.candidates() == ["ema-0.0", "ema-0.5", "ema-0.999", "soup", "last-3"]
    for name in path[0]:
        values = np.stack([weights[name] for weights in path])
        expected = {"last-3": values[[5, 8, 11]].mean(0), "raw": values[-1], "ema": double(ema.average)[name]}
        for decay in decays:
            ages = np.arange(STEPS)[::-1]
            counts = decay**ages / (decay**ages).sum()
            expected[f"ema-{decay}"] = np.tensordot(counts, values, 1)
        expected["soup"] = np.mean([expected[each] for each in expected if each != "last-3"], axis=0)
        for candidate in averages.candidates():
            found = averages.weights(candidate, network, ema)[name]
            assert found.dtype == torch.float32
            np.testing.assert_allclose(found.numpy(), expected[candidate], rtol=1e-5, atol=1e-6, err_msg=candidate)


def test_they_go_on_from_their_state() -> None:
    network = make()
    whole, first, second = (Averages(network, [0.9], last=2) for _ in range(3))
    for step in walk(network):
        half = first if step <= 7 else second
        for each in (whole, half):
            each.update(network)
            each.note_evaluation(network, step, EVALUATED)
        if step == 7:
            second.load({name: tensor.clone() for name, tensor in first.state().items()})
    assert whole.state().keys() == second.state().keys()
    assert all(whole.state()[name].equal(second.state()[name]) for name in whole.state())


def test_without_windows_there_is_no_soup() -> None:
    assert Averages(make(), last=4).candidates() == ["last-4"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_mean_is_the_nearest_number_to_the_true_one(dtype: torch.dtype) -> None:
    states = [{"weight": torch.tensor([1.0, 1e-4 * n], dtype=dtype), "count": torch.tensor(n)} for n in (7, 8, 10)]
    expected = np.mean([state["weight"].double().numpy() for state in states], axis=0)
    found = mean_of(states)
    assert found["weight"].dtype == dtype and found["weight"].equal(torch.tensor(expected).to(dtype))
    assert found["count"].item() == 7, "of what is no floating-point number, the first's"
