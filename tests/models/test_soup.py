"""Soups agree with what float64 makes of the papers' formulas."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from nfft.models.soup import gathers_statistics, greedy, model_stock
from nfft.optim.averages import mean_of

SHAPES: dict[str, tuple[int, ...]] = {
    "stem.weight": (4, 3, 3, 3), "stem.gain": (4, 1, 1, 1), "stem.bias": (4,), "skipinit_gain": (),
    "head.weight": (5, 4),
}  # fmt: skip
Arrays = dict[str, np.ndarray]


def draw(seed: int, around: dict[str, Tensor] | None = None, size: float = 1.0) -> dict[str, Tensor]:
    """Weights, drawn; near others where they are given."""
    rng = np.random.default_rng(seed)
    numbers = {name: size * rng.standard_normal(shape) for name, shape in SHAPES.items()}
    drawn = {name: torch.from_numpy(np.asarray(values, np.float32)) for name, values in numbers.items()}
    return {name: tensor + around[name] for name, tensor in drawn.items()} if around else drawn


def doubled(state: dict[str, Tensor]) -> Arrays:
    return {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}


def mean_reference(states: list[Arrays]) -> Arrays:
    return {name: np.mean([state[name] for state in states], axis=0) for name in states[0]}


def stock_reference(states: list[Arrays], anchor: Arrays) -> Arrays:
    """Equation by equation: a layer's changes, their mean angle, the share of the mean."""
    wanted = mean_reference(states)
    for layer in {name.rpartition(".")[0] for name in anchor}:
        names = [name for name in anchor if name.rpartition(".")[0] == layer]
        changes = [np.concatenate([(state[n] - anchor[n]).ravel() for n in names]) for state in states]
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in combinations(changes, 2)]
        cosine, n = np.mean(cosines), len(states)
        share = max(0, n * cosine / (1 + (n - 1) * cosine))
        for name in names:
            wanted[name] = share * wanted[name] + (1 - share) * anchor[name]
    return wanted


@pytest.mark.parametrize("count", [2, 3, 5])
def test_uniform_and_stock_agree_with_a_float64_reference(count: int) -> None:
    anchor = draw(0)
    moved = draw(1, anchor, 0.2)
    states = [draw(10 + seed, moved, 0.1) for seed in range(count)]
    doubles, start = [doubled(state) for state in states], doubled(anchor)
    del start["head.weight"]
    found, share = model_stock(states, {name: anchor[name] for name in start})
    uniform = mean_of(states)
    for name, wanted in stock_reference(doubles, start).items():
        assert found[name].dtype == torch.float32
        np.testing.assert_allclose(found[name].numpy(), wanted, rtol=1e-6, atol=1e-7, err_msg=name)
        np.testing.assert_array_equal(uniform[name].numpy(), mean_reference(doubles)[name].astype(np.float32))
    assert found["head.weight"].equal(uniform["head.weight"]), "what the anchor lacks is the mean"
    assert 0 < share < 1


def test_the_angle_says_how_near_to_the_mean() -> None:
    anchor = {"a.weight": torch.zeros(2), "b.weight": torch.zeros(2), "c.weight": torch.ones(2)}
    one = {"a.weight": torch.tensor([1.0, 0]), "b.weight": torch.tensor([1.0, 0]), "c.weight": torch.ones(2)}
    two = {"a.weight": torch.tensor([0, 1.0]), "b.weight": torch.tensor([2.0, 0]), "c.weight": torch.ones(2)}
    found, _ = model_stock([one, two], anchor)
    assert found["a.weight"].tolist() == [0, 0], "at a right angle nothing is common to the changes"
    assert found["b.weight"].tolist() == [1.5, 0], "in one direction, the mean is believed"
    assert found["c.weight"].tolist() == [1, 1], "what no run has moved stays"
    opposite = {"a.weight": torch.tensor([-1.0, 0]), "b.weight": torch.tensor([-2.0, 0]), "c.weight": torch.ones(2)}
    assert model_stock([one, opposite], anchor)[0]["a.weight"].tolist() == [0, 0]


def greedy_reference(states: list[Arrays], scores: list[float], target: Arrays) -> set[int]:
    """Recipe 1 of the paper, with a mean that is computed anew each time."""
    soup: list[int] = []
    reached = -np.inf
    for number in np.argsort([-score for score in scores], kind="stable"):
        trial = [*soup, int(number)]
        mean = mean_reference([states[each] for each in trial])
        score = -sum(float(np.square(mean[name] - target[name]).sum()) for name in mean)
        if score >= reached:
            soup, reached = trial, score
    return set(soup)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_agrees_with_a_float64_reference(seed: int) -> None:
    target = draw(99)
    states = [draw(100 * seed + number, target, size) for number, size in enumerate((1, 0.3, 2, 0.5, 0.4, 4))]

    def score(state: dict[str, Tensor]) -> float:
        return -sum(float((state[name].double() - target[name].double()).square().sum()) for name in state)

    alone = [score(state) for state in states]
    kept = greedy(states, alone, score)
    assert set(kept) == greedy_reference([doubled(state) for state in states], alone, doubled(target))
    assert kept[0] == alone.index(max(alone)) and 1 <= len(kept) < len(states)
    assert score(mean_of([states[number] for number in kept])) >= max(alone)


def test_what_does_not_lower_the_score_is_kept() -> None:
    states = [{"weight": torch.tensor([float(number)])} for number in range(3)]
    assert greedy(states, [0.5, 0.7, 0.7], lambda state: 0.7) == [1, 2, 0]
    assert greedy(states, [0.5, 0.7, 0.7], lambda state: 0.69) == [1]


def test_networks_that_gather_statistics_are_known_by_their_buffers() -> None:
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).state_dict()
    assert gathers_statistics(state)
    assert not gathers_statistics(draw(0))
