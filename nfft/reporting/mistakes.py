"""What scores say of single classes: which are taken for which, which are seldom recognized, which were not seen."""

import heapq
from collections import defaultdict
from dataclasses import dataclass

from nfft.intervals import interval_of_share
from nfft.reporting.markdown import known
from nfft.runs.records import ClassScores, Scores

WEAKEST = 3  # classes put in words
UNCERTAIN = 0.2  # width of an interval that makes a class's figure little more than a hint


@dataclass(frozen=True)
class ConfusedPair:
    """A class that was taken for another: `count` of its `total` images."""

    true: str
    predicted: str
    count: int
    total: int


def most_confused(scores: Scores, limit: int) -> list[ConfusedPair]:
    """The pairs of classes that were mistaken most often, most images first; `limit` of them at most."""
    names = [entry.name for entry in scores.per_class]
    totals: dict[int, int] = defaultdict(int)
    for true, _, count in scores.confusion:
        totals[true] += count
    mistakes = [pair for pair in scores.confusion if pair[0] != pair[1]]
    # Of equally many and as large a share, the first classes.
    largest = heapq.nsmallest(limit, mistakes, key=lambda pair: (-pair[2], -pair[2] / totals[pair[0]], pair[:2]))
    return [ConfusedPair(names[true], names[predicted], count, totals[true]) for true, predicted, count in largest]


@dataclass(frozen=True)
class ClassFacts:
    """Classes that are worth a sentence.

    Attributes:
        unseen: names of those without images.
        fewest, rarest: images of the classes with the fewest, and names of these.
        alike: whether all that have images have as many.
        weakest: those recognized least often, of those with a mistake.
        as_weak: how many more are as weak as the last of these.
        uncertain: whether one of `weakest` has so few images that its recall says little.
    """

    unseen: list[str]
    fewest: int
    rarest: list[str]
    alike: bool
    weakest: list[ClassScores]
    as_weak: int
    uncertain: bool


def class_facts(scores: Scores) -> ClassFacts:
    """What the scores say of single classes."""
    seen = [entry for entry in scores.per_class if entry.count and known(entry.recall)]
    fewest = min((entry.count for entry in seen), default=0)
    below = sorted((entry for entry in seen if entry.recall < 1), key=lambda entry: entry.recall)
    weakest = below[:WEAKEST]
    intervals = [interval_of_share(entry.recall, entry.count) for entry in weakest]
    return ClassFacts(
        unseen=[entry.name for entry in scores.per_class if not entry.count],
        fewest=fewest,
        rarest=[entry.name for entry in seen if entry.count == fewest],
        alike=bool(seen) and all(entry.count == fewest for entry in seen),
        weakest=weakest,
        as_weak=sum(entry.recall == weakest[-1].recall for entry in below[WEAKEST:]),
        uncertain=any(high - low > UNCERTAIN for low, high in intervals),
    )
