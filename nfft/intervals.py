"""How sure one may be of a share of images, of a mean over seeds, and of a difference between two."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# Not scipy.stats, which calls these and takes seconds to import.
from scipy.special import ndtri, stdtr, stdtrit


def interval(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Ends of the 95 % interval of the mean, by Student's t; none for one value, or several that are the same.

    Those of few images are the same now and then, and a probe's always: that does not make them sure.
    """
    if not has_spread(values):
        return None, None
    mean, error = statistics.fmean(values), standard_error(values)
    reach = float(stdtrit(len(values) - 1, 0.975)) * error
    return mean - reach, mean + reach


def interval_of_share(share: float, count: int) -> tuple[float, float]:
    """Ends of Wilson's 95 % interval of a share that was measured on `count` images, at least one."""
    hits, z = round(share * count), float(ndtri(0.975))
    measured = hits / count
    scale = 2 * (count + z**2)
    center = (2 * count * measured + z**2) / scale
    reach = z / scale * math.sqrt(4 * count * measured * (1 - measured) + z**2)
    # For none or all of the images the end is exactly there; the formula would miss it by rounding.
    return (center - reach if hits else 0.0), (center + reach if hits < count else 1.0)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of several values."""
    return statistics.stdev(values) / math.sqrt(len(values))


def has_spread(values: Sequence[float]) -> bool:
    """Whether there are different values, rounding aside."""
    return len(values) > 1 and statistics.stdev(values) > 1e-12


@dataclass(frozen=True)
class Difference:
    """How much larger one thing is than another, measured in pairs.

    Attributes:
        mean: of the differences.
        low, high: ends of the 95 % interval of the mean; None for one pair, or where all differ alike.
        p: of Student's paired test, two-sided: how often chance alone would make such a difference; None as these.
        pairs: how many.
        larger: in how many of them it is.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    pairs: int
    larger: int


def paired(before: Sequence[float], after: Sequence[float]) -> Difference:
    """`after` less `before`, pair by pair."""
    differences = [b - a for a, b in zip(before, after, strict=True)]
    mean, pairs = statistics.fmean(differences), len(differences)
    low, high = interval(differences)
    p = None
    if has_spread(differences):
        p = 2 * float(stdtr(pairs - 1, -abs(mean) / standard_error(differences)))
    return Difference(mean, low, high, p, pairs, larger=sum(difference > 0 for difference in differences))
