"""How sure one may be of a share of images, of a mean over seeds, and of a difference between two."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def interval(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Ends of the 95 % interval of the mean, by Student's t; none for one value, or several that are the same.

    Those of few images are the same now and then, and a probe's always: that does not make them sure.
    """
    from scipy.stats import t

    if not has_spread(values):
        return None, None
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = float(t.ppf(0.975, len(values) - 1)) * error
    return mean - reach, mean + reach


def interval_of_share(share: float, count: int) -> tuple[float, float]:
    """Ends of Wilson's 95 % interval of a share that was measured on `count` images, at least one."""
    from scipy.stats import binomtest

    low, high = binomtest(round(share * count), count).proportion_ci(method="wilson")
    return float(low), float(high)


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
    from scipy.stats import ttest_1samp

    differences = [b - a for a, b in zip(before, after, strict=True)]
    low, high = interval(differences)
    p = float(ttest_1samp(differences, 0).pvalue) if has_spread(differences) else None
    larger = sum(each > 0 for each in differences)
    return Difference(statistics.fmean(differences), low, high, p, len(differences), larger)
