"""Soups: one set of weights out of those of several runs that were fine-tuned from the same ones.

Normalizer-free networks keep no statistics of what goes through them, so that a mean of their weights is whole.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from nfft.optim.averages import mean_of

State = Mapping[str, Tensor]


def gathers_statistics(state: State) -> bool:
    """Whether a network keeps running statistics of its activations, which are those of no mean of weights."""
    return any(name.rpartition(".")[2] == "running_mean" for name in state)


def greedy(states: Sequence[State], scores: Sequence[float], score: Callable[[State], float]) -> list[int]:
    """Which sets of weights a greedy soup has, in the order in which they went in.

    Args:
        scores: of each; the best begins, and the others are tried in their order. Of equal ones, the first is first.
        score: of a mean of some, on the same scale. What does not lower it stays in.

    Source: arXiv 2203.05482, recipe 1.
    """
    best, *others = sorted(range(len(states)), key=lambda number: -scores[number])
    kept, reached = [best], scores[best]
    for number in others:
        trial = [*kept, number]
        if (found := score(mean_of([states[each] for each in trial]))) >= reached:
            kept, reached = trial, found
    return kept


def model_stock(states: Sequence[State], anchor: State) -> tuple[dict[str, Tensor], float]:
    """Between the mean of fine-tuned weights and the pre-trained ones, layer by layer, as near as their angles say.

    Of n sets of weights whose changes of a layer are at the angle a to each other, in the mean of all pairs, the mean
    has the share t = n cos a / (1 + (n - 1) cos a), and the pre-trained weights have the rest.

    Args:
        states: at least two.
        anchor: the pre-trained weights; what it lacks, such as a new classifier, becomes the mean.

    Returns:
        The weights, and the mean of t over all numbers that the anchor has.

    Source: arXiv 2403.19522, section 4.
    Differs: a layer is a module, its weight, gain and bias together. The mean's share is at least 0, where changes
        point away from each other.
    """
    result = mean_of(states)
    layers: dict[str, list[str]] = {}
    for name in anchor:
        if result[name].is_floating_point():
            layers.setdefault(name.rpartition(".")[0], []).append(name)
    shares, sizes = [], []
    for names in layers.values():
        start = _as_vector(anchor, names)
        changes = [_as_vector(state, names) - start for state in states]
        share = _share_of_mean(changes)
        mixed = start + share * torch.stack(changes).mean(0)
        shares.append(share)
        sizes.append(len(start))
        for name, part in zip(names, mixed.split([anchor[name].numel() for name in names]), strict=True):
            result[name].copy_(part.view(anchor[name].shape))
    return result, sum(s * n for s, n in zip(shares, sizes, strict=True)) / max(1, sum(sizes))


def _share_of_mean(changes: Sequence[Tensor]) -> float:
    """The share t of the mean, from 0 to 1, by the angles between the changes of a layer."""
    cosines = [_cosine(one, two) for one, two in combinations(changes, 2)]
    cosine, count = sum(cosines) / len(cosines), len(changes)
    below = 1 + (count - 1) * cosine
    return min(1.0, max(0.0, count * cosine / below)) if below > 0 else 0.0


def _cosine(one: Tensor, two: Tensor) -> float:
    """Of the angle between two vectors; 0 where one of them has no direction."""
    norms = float(one.norm() * two.norm())
    return float(one @ two) / norms if norms > 0 else 0.0


def _as_vector(state: State, names: Sequence[str]) -> Tensor:
    return torch.cat([state[name].detach().to("cpu", torch.float64).flatten() for name in names])
