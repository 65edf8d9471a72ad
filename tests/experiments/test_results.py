"""The table and differences of a study follow from its records alone."""

import pytest
from run_records import make_results, make_run

from nfft.config.study import Study
from nfft.experiments.records import FailedRun, StudyRecord
from nfft.experiments.results import difference, differences_of, table_of

STUDY = Study(
    name="s", title="t", question="q", paper="p", budget="b", row_label="Net", shared={"task": "t", "model": "m"},
    rows={"BN": {}, "NF": {}, "none": {}}, columns={"a": {}, "b": {}, "empty": {}}, pairs=(("BN", "NF"),),
)  # fmt: skip
# The second seed of NF on b is missing.
TOP1 = {("BN", "a"): [0.50, 0.52], ("NF", "a"): [0.54, 0.58], ("BN", "b"): [0.80, 0.82], ("NF", "b"): [0.79]}
RECORDS = [
    StudyRecord(
        cell=f"{row}/{column}-{seed}", row=row, column=column, seed=seed, split="test", count=100, top1=top1, loss=1.0,
        weights="ema", candidates={}, training=make_results().training, run=make_run(),
    )
    for (row, column), values in TOP1.items()
    for seed, top1 in enumerate(values)
]  # fmt: skip


def test_table_has_what_was_run() -> None:
    # Student's t for one degree of freedom is 12.706; the error of two values is half their distance.
    assert table_of(STUDY, RECORDS) == [
        ["Net", "a", "b"],
        ["BN", "51.0 ± 12.7", "81.0 ± 12.7"],
        ["NF", "56.0 ± 25.4", "79.0"],
    ]


def test_a_run_that_came_to_nothing_shows() -> None:
    failures = [
        FailedRun(cell=f"{row}/{column}-{seed}", row=row, column=column, seed=seed, failed="it diverged")
        for row, column, seed in (("NF", "b", 1), ("none", "a", 0), ("none", "a", 1))
    ]
    assert table_of(STUDY, [*RECORDS, *failures]) == [
        ["Net", "a", "b"],
        ["BN", "51.0 ± 12.7", "81.0 ± 12.7"],
        ["NF", "56.0 ± 25.4", "79.0 (1 failed)"],
        ["none", "2 failed", "–"],
    ]
    assert differences_of(STUDY, [*RECORDS, *failures]) == differences_of(STUDY, RECORDS)


def test_differences_are_of_seeds_that_both_have() -> None:
    a, b, both = (difference(STUDY, RECORDS, ("BN", "NF"), column) for column in ("a", "b", None))
    assert a is not None and b is not None and both is not None
    assert (a.mean, a.larger, a.pairs) == (pytest.approx(0.05), 2, 2)
    assert (b.mean, b.larger, b.pairs) == (pytest.approx(-0.01), 0, 1)
    assert (both.mean, both.pairs) == (pytest.approx((0.04 - 0.01) / 2), 1)
    assert difference(STUDY, RECORDS, ("BN", "none"), "a") is None
    lines = differences_of(STUDY, RECORDS)
    assert [line[0] for line in lines[1:]] == ["NF over BN, a", "NF over BN, b", "NF over BN, mean of all"]
    assert lines[1][1] == "+5.0" and lines[1][4] == "2 of 2"
    assert lines[2][2:4] == ["–", "–"], "one pair says nothing of chance"
