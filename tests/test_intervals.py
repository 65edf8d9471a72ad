"""Intervals and paired tests agree with SciPy's own, and do not invent certainty."""

import pytest
from scipy import stats

from nfft.intervals import interval, interval_of_share, paired

BEFORE, AFTER = [0.70, 0.72, 0.69, 0.74], [0.73, 0.74, 0.73, 0.75]


def test_interval_is_students() -> None:
    expected = stats.t.interval(0.95, 3, sum(BEFORE) / 4, stats.sem(BEFORE))
    assert interval(BEFORE) == pytest.approx(expected)


def test_interval_of_a_share_is_wilsons() -> None:
    z, share, count = 1.959964, 0.8, 100
    low, high = interval_of_share(share, count)
    # Wilson's ends are where the share lies z of their own standard deviations off.
    for end in (low, high):
        assert abs(share - end) == pytest.approx(z * (end * (1 - end) / count) ** 0.5, rel=1e-5)


@pytest.mark.parametrize("values", [[0.5], [0.1, 0.1, 0.1]])
def test_values_without_spread_have_no_interval(values: list[float]) -> None:
    assert interval(values) == (None, None)


def test_paired_is_students_paired_test() -> None:
    actual, expected = paired(BEFORE, AFTER), stats.ttest_rel(AFTER, BEFORE)
    assert actual.mean == pytest.approx(0.025)
    assert actual.p == pytest.approx(expected.pvalue)
    assert (actual.low, actual.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (actual.larger, actual.pairs) == (4, 4)


def test_what_all_pairs_have_alike_says_nothing_of_chance() -> None:
    for before, after in (([0.5], [0.6]), ([0.5, 0.25], [0.5, 0.25]), ([0.5, 0.25], [0.75, 0.5])):
        actual = paired(before, after)
        assert (actual.p, actual.low, actual.high) == (None, None, None)
