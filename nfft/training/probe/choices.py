"""What a probe's classifier may see: the last layer alone, or every stage beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nfft.evaluation.metrics import Predictions
from nfft.training.probe.solver import L2, Solution

# With more features the best penalty is rarely stronger than so many steps of the path above the last layer's.
STRONGER = 3


@dataclass(frozen=True)
class Choice:
    """What a classifier sees.

    Attributes:
        widths: features of the stages beside the last layer, by their places; none for the last layer alone.
        last: width of the last layer.
    """

    widths: Mapping[int, int]
    last: int

    @property
    def stages(self) -> tuple[int, ...]:
        return tuple(self.widths)

    @property
    def first(self) -> int:
        """The first column of it, from the end, where the last layer is."""
        return -(sum(self.widths.values()) + self.last)


@dataclass(frozen=True)
class Fitted:
    """The classifier of a choice that does best on validation, and what it says there."""

    choice: Choice
    solution: Solution
    validation: Predictions


def choices_of(widths: Mapping[int, int], last: int) -> list[Choice]:
    """The choices to try, the last layer alone first.

    One factor for the features of all stages, a factor that falls from stage to stage, and the last stages alone were
    tried, too: LOG.md has what they lost.

    Args:
        widths: features of every stage, by its place.
        last: width of the last layer.
    """
    return [Choice({}, last), *([Choice(widths, last)] if widths else [])]


def penalties_of(l2: float | None, before: Sequence[Fitted]) -> Sequence[float]:
    """The path of penalties for the next choice: the one that is set, or all from where the best may be.

    Args:
        before: what was fitted to choices that see less.
    """
    if l2 is not None:
        return [l2]
    return L2[max(0, L2.index(before[0].solution.l2) - STRONGER) :] if before else L2
