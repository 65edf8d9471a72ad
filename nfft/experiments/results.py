"""What the runs of a study have found: a record of each, and the table and differences that follow from these."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nfft.config.study import Study
from nfft.errors import UserError
from nfft.experiments.cells import Cell, Failed, Place
from nfft.experiments.records import FailedRun, StudyLine, StudyRecord, failed, finished
from nfft.intervals import Difference, interval, paired
from nfft.reporting.markdown import ABSENT
from nfft.runs.records import Results, Scores


def record_of(study: Study, cell: Cell, folder: Path, place: Place | None = None) -> StudyRecord:
    """A finished run.

    Args:
        folder: of the study.
        place: of the cell in the table; None for one that others start from.
    """
    results, run = cell.results(folder), cell.run(folder)
    averaged = place is not None and study.weights == "ema"
    scores = _scores_of_average(cell, results) if averaged else results.quoted
    return StudyRecord(
        cell=cell.name,
        row=place.row if place else None,
        column=place.column if place else None,
        seed=run.seed,
        split=scores.split,
        count=scores.count,
        top1=scores.top1,
        loss=scores.loss,
        weights=results.weights,
        candidates=results.candidates,
        training=results.training,
        run=run,
    )


def _scores_of_average(cell: Cell, results: Results) -> Scores:
    """Those of the averaged weights on validation, whether they were kept or not."""
    if (average := results.candidates.get("ema")) is None:
        raise UserError(f"{cell.name} averages no weights, which are what the study's table is of.")
    return replace(results.validation, top1=average.top1, loss=average.loss)


def record_of_failure(failure: Failed, place: Place | None) -> FailedRun:
    """A run that came to nothing, as one that diverges does."""
    return FailedRun(
        cell=failure.cell.name,
        row=place.row if place else None,
        column=place.column if place else None,
        seed=place.seed if place else None,
        failed=failure.reason,
    )


def top1(records: Sequence[StudyLine], row: str, column: str) -> dict[int, float]:
    """Top-1 of a cell of the table by seed."""
    return {run.seed: run.top1 for run in finished(records) if (run.row, run.column) == (row, column)}


def failures(records: Sequence[StudyLine], row: str, column: str) -> int:
    """How many runs of a cell of the table failed."""
    return sum((run.row, run.column) == (row, column) for run in failed(records))


def shown_columns(study: Study, records: Sequence[StudyLine]) -> list[str]:
    """The columns that have a run."""
    return [name for name in study.columns if any(line.column == name for line in records)]


def table_of(study: Study, records: Sequence[StudyLine]) -> list[list[str]]:
    """Mean top-1 in percent of each row and column, ± the reach of its 95 % interval, and how many runs failed."""
    columns = shown_columns(study, records)
    lines = [[row, *(_in_cell(records, row, name) for name in columns)] for row in study.rows]
    return [[study.row_label, *columns], *(line for line in lines if set(line[1:]) != {ABSENT})]


def _in_cell(records: Sequence[StudyLine], row: str, column: str) -> str:
    values, lost = [*top1(records, row, column).values()], failures(records, row, column)
    if not values:
        return f"{lost} failed" if lost else ABSENT
    mean, (_, high) = statistics.fmean(values), interval(values)
    reach = f" ± {100 * (high - mean):.1f}" if high is not None else ""
    return f"{100 * mean:.1f}{reach}" + (f" ({lost} failed)" if lost else "")


def difference(
    study: Study, records: Sequence[StudyLine], pair: tuple[str, str], column: str | None
) -> Difference | None:
    """The second row of `pair` less the first, over the seeds that both have; None where there are none.

    Args:
        column: of the table; None takes the mean over all columns, for seeds that both rows have in each.
    """
    names = [column] if column is not None else shown_columns(study, records)
    before, after = ([top1(records, row, name) for name in names] for row in pair)
    seeds = sorted(set.intersection(*(set(cell) for cell in (*before, *after)))) if names else []
    if not seeds:
        return None
    means = ([statistics.fmean(cell[seed] for cell in side) for seed in seeds] for side in (before, after))
    return paired(*means)


def differences_of(study: Study, records: Sequence[StudyLine]) -> list[list[str]]:
    """For each pair of rows and each column, how much the second reaches more, in points of top-1."""
    lines = [["Difference, points", "Mean", "95 % interval", "p", "Seeds in which it is larger"]]
    columns: list[str | None] = [*shown_columns(study, records)]
    for pair in study.pairs:
        for column in [*columns, None] if len(columns) > 1 else columns:
            if (gain := difference(study, records, pair, column)) is not None:
                lines.append([f"{pair[1]} over {pair[0]}, {column or 'mean of all'}", *_in_words(gain)])
    return lines


def _in_words(gain: Difference) -> list[str]:
    low, high = gain.low, gain.high
    ends = ABSENT if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f}"
    p = ABSENT if gain.p is None else f"{gain.p:.3f}" if gain.p >= 0.001 else "< 0.001"
    return [f"{100 * gain.mean:+.1f}", ends, p, f"{gain.larger} of {gain.pairs}"]
