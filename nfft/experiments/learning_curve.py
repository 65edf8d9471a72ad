"""What each method reaches by number of images a class, and how many a wanted top-1 would take."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from nfft.experiments import power_law
from nfft.experiments.power_law import PowerLaw
from nfft.experiments.records import ComparisonRow, LawRecord, LearningCurve, Need
from nfft.reporting.markdown import ABSENT

# Numbers of shots that a law takes, and how many times the largest it is carried.
LEAST, REACH = 3, 10


def curves_of(rows: Sequence[ComparisonRow], wanted: float | None) -> list[LearningCurve]:
    """The learning curve of each method.

    Args:
        rows: one for each method and number of shots.
        wanted: a top-1 as a share, for which the images are to be told.
    """
    methods = dict.fromkeys(row.method for row in rows)
    return [curve_of([row for row in rows if row.method == method], wanted) for method in methods]


def curve_of(rows: Sequence[ComparisonRow], wanted: float | None = None) -> LearningCurve:
    """The learning curve of one method; `rows` and `wanted` as for `curves_of`."""
    points = _Points(sorted(rows, key=lambda row: row.shots or 0))
    is_flat = _is_flat(points)
    law = None if is_flat or len(points.rows) < LEAST else _law(points)
    is_flat = is_flat or (law is not None and law.scale == 0)
    law = None if is_flat else law
    need = None if wanted is None else _need(points, law, is_flat, wanted)
    return LearningCurve(
        method=rows[0].method,
        shots=tuple(points.shots),
        top1=tuple(points.top1),
        low=tuple(row.low for row in points.rows),
        high=tuple(row.high for row in points.rows),
        limit=points.limit,
        is_flat=is_flat,
        law=law,
        need=need,
        sentence=f"{rows[0].method}: {_sentence(points, law, need, is_flat)}",
    )


@dataclass(frozen=True)
class _Points:
    """The rows of a method by number of shots, as the law takes them."""

    rows: Sequence[ComparisonRow]

    @property
    def shots(self) -> list[int]:
        return [row.shots or 0 for row in self.rows]

    @property
    def top1(self) -> list[float]:
        return [statistics.fmean(row.top1) for row in self.rows]

    @property
    def errors(self) -> list[float]:
        return [1 - top1 for top1 in self.top1]

    @property
    def deviations(self) -> list[float]:
        """How far each mean may be off, by the spread of its seeds, and no less than so few test images make."""
        return [max(_spread(row), _chance(row)) / math.sqrt(len(row.top1)) for row in self.rows]

    @property
    def limit(self) -> int:
        return REACH * self.shots[-1]


def _spread(row: ComparisonRow) -> float:
    return statistics.stdev(row.top1) if len(row.top1) > 1 else 0.0


def _chance(row: ComparisonRow) -> float:
    """The deviation of a share of so many images; with one right and one wrong added, it is never 0."""
    share = (statistics.fmean(row.top1) * row.images + 1) / (row.images + 2)
    return math.sqrt(share * (1 - share) / (row.images + 2))


def _by_seed(row: ComparisonRow) -> dict[int, float]:
    return dict(zip(row.seeds, row.top1, strict=True))


def _is_flat(points: _Points) -> bool:
    """Whether top-1 rises with the logarithm of the shots by no more than chance makes: the slope's 95 % interval.

    Welch's, as means of few shots spread more. That those of a seed rise and fall together only makes it wider.
    """
    if len(points.rows) < 2:
        return False
    apart = np.log(points.shots) - np.log(points.shots).mean()
    shares = (apart / (apart**2).sum() * points.deviations) ** 2
    freedom = [len(row.top1) - 1 or math.inf for row in points.rows]
    uncertain = (shares**2 / freedom).sum()
    reach = stdtrit(shares.sum() ** 2 / uncertain, 0.975) if uncertain else ndtri(0.975)
    return bool(apart @ points.top1 / (apart**2).sum() <= reach * math.sqrt(shares.sum()))


def _law(points: _Points) -> LawRecord:
    law = power_law.fit(points.shots, points.errors, points.deviations)
    seeds = [len(row.top1) for row in points.rows]
    misfits = [abs(error - law.error(count)) for count, error in zip(points.shots, points.errors, strict=True)]
    return LawRecord(
        floor=law.floor,
        scale=law.scale,
        exponent=law.exponent,
        misfit=max(misfits),
        misfit_at=points.shots[misfits.index(max(misfits))],
        is_poor=power_law.fits_poorly(law, points.shots, points.errors, points.deviations, seeds),
    )


def _need(points: _Points, law: LawRecord | None, is_flat: bool, wanted: float) -> Need:
    # Rounding is not to decide whether a top-1 that was reached was reached.
    missed = [count for count, top1 in zip(points.shots, points.top1, strict=True) if top1 < wanted - 1e-9]
    reached = [count for count in points.shots if count > max(missed, default=0)]
    if reached:
        return Need(wanted=wanted, outcome="measured", images=reached[0], low=None, high=None)
    if law is None:
        return Need(wanted=wanted, outcome="flat" if is_flat else "too few", images=None, low=None, high=None)
    # What was missed with so many is not promised for fewer.
    images = max(PowerLaw(law.floor, law.scale, law.exponent).images_for(1 - wanted), max(missed))
    low, high = _interval(points, 1 - wanted)
    # Of an estimate that the draws do not surround, the interval takes it in.
    low, high = (None if low is None else min(low, images)), (None if high is None else max(high, images))
    return Need(
        wanted=wanted,
        outcome="estimated" if images <= points.limit else "beyond",
        images=_whole(images, points.limit),
        low=_whole(low, points.limit),
        high=_whole(high, points.limit),
    )


def _interval(points: _Points, error: float) -> tuple[float, float] | tuple[None, None]:
    draws = power_law.draw_means([_by_seed(row) for row in points.rows])
    if draws is None:
        return None, None
    images = power_law.images_in_draws(points.shots, 1 - draws, points.deviations, error)
    low, high = np.quantile(images, (0.025, 0.975), method="inverted_cdf")
    return float(low), float(high)


def _whole(images: float | None, limit: int) -> int | None:
    """As images come; None where there is no number, or it is beyond the limit."""
    if images is None or images > limit:
        return None
    return max(1, math.ceil(images - 1e-6))


def _sentence(points: _Points, law: LawRecord | None, need: Need | None, is_flat: bool) -> str:
    said = _need_in_words(points, law, need) if need is not None else ""
    if need is not None and need.outcome in ("measured", "flat", "too few"):
        return said
    if law is None:
        return _flat(points) + "." if is_flat else _too_few(points) + "."
    return " ".join(part for part in (said, *_law_in_words(points, law)) if part)


def _need_in_words(points: _Points, law: LawRecord | None, need: Need) -> str:
    wanted = f"{100 * need.wanted:g} %"
    if need.outcome == "measured":
        place = points.shots.index(need.images or 0)
        before = f"; with {_images(points.shots[place - 1])}, {_percent(points.top1[place - 1])}" if place else ""
        return f"{wanted} is reached with {_images(points.shots[place])}, as measured: {_point(points, place)}{before}."
    if need.outcome == "flat":
        return f"{_flat(points)}: nothing can be said of {wanted}."
    if need.outcome == "too few":
        best = max(range(len(points.rows)), key=lambda place: points.top1[place])
        return (
            f"{wanted} is not reached: {_point(points, best)} with {_images(points.shots[best])}; {_too_few(points)}."
        )
    beyond = f"more than {points.limit:,}"
    high = beyond if need.high is None else f"{need.high:,}"
    if need.outcome == "estimated":
        sure = "no interval" if need.low is None else f"95 % interval {need.low:,} to {high}"
        return f"{wanted} would take about {_images(need.images or 0)} ({sure})."
    sure = f" (95 % interval from {need.low:,} on)" if need.low is not None else ""
    assert law is not None
    never = (
        f", and by the law never, which levels off at {_percent(1 - law.floor)}" if law.floor >= 1 - need.wanted else ""
    )
    return f"{wanted} would take {beyond} images a class{sure}{never}."


def _law_in_words(points: _Points, law: LawRecord) -> list[str]:
    misfit = f"{100 * law.misfit:.1f} points off what was measured (with {_images(law.misfit_at)})"
    equation = f"error = {law.floor:.3f} + {law.scale:.3f} · images^-{law.exponent:.2f}"
    lines = [f"The law, {equation}, is at most {misfit}."]
    if law.is_poor:
        lines.append("It fits poorly, more so than chance makes: take what follows from it for a guess.")
    elif len(points.rows) == LEAST:
        lines.append("Three numbers of shots leave nothing to check the law by.")
    return lines


def _flat(points: _Points) -> str:
    return (
        f"from {points.shots[0]:,} to {_images(points.shots[-1])} the curve rises by no more than chance makes "
        f"({_percent(points.top1[0])} to {_percent(points.top1[-1])})"
    )


def _too_few(points: _Points) -> str:
    number = len(points.rows)
    return f"no law is fitted to {number} number{'s' if number != 1 else ''} of shots, as it takes three"


def _images(count: int) -> str:
    return f"{count:,} image{'s' if count != 1 else ''} a class"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _point(points: _Points, place: int) -> str:
    row = points.rows[place]
    if row.low is None or row.high is None:
        return _percent(points.top1[place])
    return f"{_percent(points.top1[place])} (95 % interval {100 * max(0, row.low):.1f} to {100 * min(1, row.high):.1f})"


def table_of_curves(curves: Sequence[LearningCurve]) -> list[tuple[str, ...]]:
    """Mean top-1 in percent of each method and number of shots, ± the reach of its 95 % interval."""
    shots = sorted({count for curve in curves for count in curve.shots})
    head = ("Top-1 % by images a class", *(f"{count:,}" for count in shots))
    return [head, *((curve.method, *(_in_cell(curve, count) for count in shots)) for curve in curves)]


def _in_cell(curve: LearningCurve, shots: int) -> str:
    if shots not in curve.shots:
        return ABSENT
    place = curve.shots.index(shots)
    mean, high = curve.top1[place], curve.high[place]
    return f"{100 * mean:.1f}" + (f" ± {100 * (high - mean):.1f}" if high is not None else "")
