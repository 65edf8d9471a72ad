"""The learning rate rises linearly, then falls along half a cosine; images grow to their full size."""

import math

import pytest

from nfft.optim.schedule import SIZES, learning_rate, train_side


def rates(total: int, warmup: int, peak: float = 0.4) -> list[float]:
    return [learning_rate(step, peak=peak, total_steps=total, warmup_steps=warmup) for step in range(total)]


def test_values() -> None:
    curve = rates(15_000, 5_000)
    assert curve[0] == 0
    assert curve[1] == pytest.approx(0.4 / 5_000)
    assert curve[2_500] == pytest.approx(0.2)
    assert curve[5_000] == 0.4
    assert curve[10_000] == pytest.approx(0.2)
    # 1 + cos(π - x) is x²/2 for small x.
    assert curve[-1] == pytest.approx(0.2 * (math.pi / 10_000) ** 2 / 2, rel=1e-6)


@pytest.mark.parametrize(("total", "warmup"), [(100, 33), (100, 0), (7, 1), (50, 49), (50, 50)])
def test_monotone_on_each_side_of_the_peak(total: int, warmup: int) -> None:
    curve = rates(total, warmup)
    rise, fall = curve[: warmup + 1], curve[warmup:]
    assert rise == sorted(rise) and len(set(rise)) == len(rise)
    assert fall == sorted(fall, reverse=True) and len(set(fall)) == len(fall)
    assert all(0 <= rate <= 0.4 for rate in curve)


def test_no_warm_up_starts_at_the_peak() -> None:
    assert rates(10, 0)[0] == 0.4
    assert rates(1, 0) == [0.4]


@pytest.mark.parametrize(("first", "last"), [(32, 48), (128, 192), (200, 256), (100, 100), (190, 192), (64, 1024)])
@pytest.mark.parametrize("growth_fraction", [0.75, 1.0, 0.1])
def test_images_grow_in_few_equal_stages(first: int, last: int, growth_fraction: float) -> None:
    sides = [
        train_side(step, first=first, last=last, total_steps=1200, growth_fraction=growth_fraction)
        for step in range(1200)
    ]
    assert sides == sorted(sides)
    assert sides[0] == first and set(sides[round(1200 * growth_fraction) :]) <= {last}
    smaller = sorted(set(sides) - {last})
    assert len(smaller) <= SIZES
    assert all(side % 16 == 0 for side in smaller[1:])
    counts = [sides.count(side) for side in smaller]
    assert not counts or (max(counts) - min(counts) <= 1 and abs(sum(counts) - 1200 * growth_fraction) <= 1)
