"""What a probe's classifier may see: the last layer alone, or stages beside it, from the last one backwards."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nfft.evaluation.metrics import Predictions
from nfft.training.probe.solver import Solution

# Of the stages' standardized features beside the last layer's: a half is penalized four times as much.
FACTORS = (1.0,)


@dataclass(frozen=True)
class Choice:
    """What a classifier sees.

    Attributes:
        widths: of the stages beside the last layer, by their places; none for the last layer alone.
        last: width of the last layer.
        factor: of the stages' standardized features.
    """

    widths: Mapping[int, int]
    last: int
    factor: float = 1.0

    @property
    def stages(self) -> tuple[int, ...]:
        return tuple(self.widths)

    @property
    def first(self) -> int:
        """The first column of it, from the end: there is the last layer, and before it the last stages."""
        return -(sum(self.widths.values()) + self.last)

    @property
    def factors(self) -> np.ndarray:
        """Of each column."""
        return np.concatenate([np.full(sum(self.widths.values()), self.factor), np.ones(self.last)])


@dataclass(frozen=True)
class Fitted:
    """The classifier of a choice that does best on validation, and what it says there."""

    choice: Choice
    solution: Solution
    validation: Predictions


def choices_of(widths: Mapping[int, int], last: int) -> list[Choice]:
    """The choices to try, the last layer alone first.

    Args:
        widths: of every stage, by its place.
        last: width of the last layer.
    """
    return [Choice({}, last), *(Choice(widths, last, factor) for factor in FACTORS if widths)]
