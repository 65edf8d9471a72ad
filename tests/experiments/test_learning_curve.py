"""The law of learning curves is the one that made them, its interval covers it, and its limits are said."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import curve_fit

from nfft.experiments import power_law
from nfft.experiments.learning_curve import curve_of, curves_of, table_of_curves
from nfft.experiments.power_law import PowerLaw
from nfft.experiments.records import ComparisonRow, LearningCurve

SHOTS = (1, 2, 5, 10, 20)


def rows(
    top1: Callable[[int], Sequence[float]], shots: Sequence[int] = SHOTS, images: int = 700
) -> list[ComparisonRow]:
    """A method's rows, `top1` being that of each seed with so many shots."""
    made = []
    for count in shots:
        values, low, high = tuple(top1(count)), None, None
        if len(values) > 1 and np.std(values) > 0:
            low, high = map(float, stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values)))
        row = ComparisonRow(
            method="probe", shots=count, split="test", images=images, top1=values, seeds=tuple(range(len(values))),
            low=low, high=high, trained=1, parameters=2, wall_seconds=(1.0,) * len(values), peak_memory_bytes=0,
            disk_bytes=0,
        )  # fmt: skip
        made.append(row)
    return made


def around(law: PowerLaw, seeds: int, spread: float, seed: int = 0) -> Callable[[int], list[float]]:
    """Top-1 of seeds around a law: in part each seed's own with any number of shots, in part drawn anew."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal(seeds) * spread / 2
    return lambda count: [float(1 - law.error(count) + off + spread * rng.standard_normal()) for off in own]


@pytest.mark.parametrize("law", [(0.05, 0.6, 0.5), (0.0, 0.5, 0.3), (0.2, 0.3, 1.2), (0.1, 0.4, 0.8)])
def test_a_known_law_is_found_to_float64(law: tuple[float, float, float]) -> None:
    made = PowerLaw(*law)
    fitted = power_law.fit(SHOTS, [made.error(count) for count in SHOTS], [0.03, 0.02, 0.02, 0.01, 0.01])
    assert (fitted.floor, fitted.scale, fitted.exponent) == pytest.approx(law, abs=1e-6)
    for error in (0.25, 0.3):
        expected = ((error - law[0]) / law[1]) ** (-1 / law[2])
        assert fitted.images_for(error) == pytest.approx(expected, rel=1e-6)
    assert made.images_for(law[0]) == math.inf


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_that_of_a_general_solver(seed: int) -> None:
    top1 = around(PowerLaw(0.1, 0.5, 0.6), 1, 0.02, seed)
    errors = [1 - np.mean(top1(count)) for count in SHOTS]
    deviations = np.array([0.05, 0.03, 0.02, 0.01, 0.01])
    fitted = power_law.fit(SHOTS, errors, deviations)

    def squares(floor: float, scale: float, exponent: float) -> float:
        return float((((floor + scale * np.array(SHOTS, float) ** -exponent - errors) / deviations) ** 2).sum())

    bounds = ([0, 0, 0.01], [1, np.inf, 4])
    reference, _ = curve_fit(
        lambda n, c, a, b: c + a * n**-b, np.array(SHOTS, float), errors, (0.1, 0.5, 0.5), deviations, bounds=bounds
    )
    assert squares(fitted.floor, fitted.scale, fitted.exponent) <= squares(*reference) * (1 + 1e-9)
    assert fitted.floor >= 0


def test_what_is_drawn_has_the_intervals_of_the_means() -> None:
    values = rows(around(PowerLaw(0.05, 0.6, 0.5), 4, 0.02))
    draws = power_law.draw_means([dict(zip(row.seeds, row.top1, strict=True)) for row in values])
    assert draws is not None
    for row, drawn in zip(values, draws.T, strict=True):
        assert row.low is not None and row.high is not None
        ends = np.quantile(drawn, (0.025, 0.975))
        assert ends == pytest.approx((row.low, row.high), abs=0.15 * (row.high - row.low))
    assert power_law.draw_means([{0: 0.5, 1: 0.6}, {0: 0.7}]) is None
    assert power_law.draw_means([{0: 0.5, 1: 0.5}, {0: 0.7, 1: 0.7}]) is None


def test_the_interval_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power_law, "DRAWS", 200)
    law, covered, trials = PowerLaw(0.05, 0.6, 0.5), 0, 40
    for seed in range(trials):
        need = curve_of(rows(around(law, 4, 0.015, seed)), wanted=0.85).need
        # The law reaches 85 % with 36.
        assert need is not None and need.outcome in ("estimated", "beyond")
        covered += (need.low is None or need.low <= 36) and (need.high is None or need.high >= 36)
    # Of 95 % coverage, this comes about once in a thousand times.
    assert covered >= stats.binom.ppf(0.001, trials, 0.95)


def test_the_same_runs_say_the_same() -> None:
    values = rows(around(PowerLaw(0.05, 0.6, 0.5), 3, 0.02))
    assert curve_of(values, 0.85) == curve_of(values[::-1], 0.85)


def curve(law: tuple[float, float, float], wanted: float | None, **made: Sequence[int]) -> LearningCurve:
    return curve_of(rows(around(PowerLaw(*law), 3, 0.004), **made), wanted)


def test_an_estimate_with_its_interval() -> None:
    found = curve((0.05, 0.6, 0.5), 0.85)
    assert found.need is not None and found.need.outcome == "estimated"
    assert found.need.low is not None and found.need.high is not None and found.need.images is not None
    assert 20 < found.need.low <= found.need.images <= found.need.high < 200
    assert f"about {found.need.images} images a class (95 % interval {found.need.low} to {found.need.high})" in (
        found.sentence
    )


def test_ten_times_what_was_measured_is_the_end() -> None:
    found = curve((0.0, 0.6, 0.25), 0.95)
    assert found.need is not None
    assert (found.need.outcome, found.need.images, found.need.high) == ("beyond", None, None)
    assert "95 % would take more than 200 images a class" in found.sentence and found.limit == 200
    assert "by the law never, which levels off at" in curve((0.3, 0.3, 1.0), 0.9).sentence


def test_what_was_measured_is_not_estimated() -> None:
    found = curve((0.0, 0.5, 0.5), 0.8)
    assert found.need is not None and (found.need.outcome, found.need.images) == ("measured", 10)
    assert "80 % is reached with 10 images a class, as measured: 83.7 %" in found.sentence
    assert "; with 5 images a class, 77.4 %" in found.sentence
    # Also where no law can be fitted.
    assert "70 % is reached with 5 images a class" in curve((0.0, 0.5, 0.5), 0.7, shots=(1, 5)).sentence


def test_a_top1_that_more_images_lost_again_is_not_reached() -> None:
    seen = {1: 0.5, 2: 0.6, 5: 0.71, 10: 0.69, 20: 0.69}
    found = curve_of(rows(lambda count: [seen[count] + off for off in (-0.03, 0.0, 0.03)]), 0.7)
    assert found.need is not None and found.need.outcome != "measured"
    assert found.need.images is None or found.need.images >= 20


def test_a_flat_curve_has_no_law() -> None:
    found = curve_of(rows(lambda count: np.random.default_rng(count).normal(0.5, 0.03, 4).tolist()), 0.8)
    assert found.is_flat and found.law is None and found.need is not None and found.need.outcome == "flat"
    assert "rises by no more than chance makes" in found.sentence and "nothing can be said of 80 %" in found.sentence
    assert "would take" not in found.sentence


def test_a_law_that_fits_poorly_is_a_guess() -> None:
    found = curve_of(rows(lambda count: [(0.3 if count < 10 else 0.7) + off for off in (-0.01, 0.0, 0.01)]), 0.8)
    assert found.law is not None and found.law.is_poor and found.law.misfit > 0.05
    assert "fits poorly" in found.sentence and "for a guess" in found.sentence
    good = curve((0.05, 0.6, 0.5), 0.85).law
    assert good is not None and not good.is_poor


def test_fewer_than_three_numbers_of_shots_have_no_law() -> None:
    found = curve((0.05, 0.6, 0.5), 0.9, shots=(1, 20))
    assert found.law is None and found.need is not None and found.need.outcome == "too few"
    assert "90 % is not reached" in found.sentence and "to 2 numbers of shots, as it takes three" in found.sentence
    assert "leave nothing to check the law by" in curve((0.05, 0.6, 0.5), 0.9, shots=(1, 5, 20)).sentence


def test_one_seed_has_an_estimate_without_an_interval() -> None:
    found = curve_of(rows(lambda count: [1 - PowerLaw(0.0, 0.6, 0.4).error(count)]), 0.85)
    assert found.need is not None and (found.need.images, found.need.low, found.need.high) == (32, None, None)
    assert "about 32 images a class (no interval)" in found.sentence


def test_everything_right_and_everything_wrong() -> None:
    assert "90 % is reached with 1 image a class" in curve_of(rows(lambda _: [1.0, 1.0]), 0.9).sentence
    assert curve_of(rows(lambda _: [0.0, 0.0]), 0.9).is_flat


def test_the_table_has_a_column_for_each_number_of_shots() -> None:
    values = rows(lambda count: [0.5 + count / 100, 0.52 + count / 100], shots=(1, 10))
    few = [*values, *(row for row in curve_rows("lora") if row.shots == 10)]
    head, probe, lora = table_of_curves(curves_of(few, None))
    assert head[1:] == ("1", "10") and lora == ("lora", "–", "80.0")
    low, high = stats.t.interval(0.95, 1, 0.52, stats.sem([0.51, 0.53]))
    assert probe[:2] == ("probe", f"52.0 ± {50 * (high - low):.1f}")


def curve_rows(method: str) -> list[ComparisonRow]:
    return [replace(row, method=method) for row in rows(lambda _: [0.8])]
