"""What the runs of a study have found: a record of each, and the table and differences that follow from these."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nfft.config.study import Study
from nfft.experiments.cells import Cell, Failed, Place
from nfft.intervals import Difference, interval, paired
from nfft.reporting.markdown import ABSENT


def record_of(study: Study, cell: Cell, folder: Path, place: Place | None = None) -> dict[str, Any]:
    """A finished run: where it stands in the table (nowhere, if others start from it), what was run, what came out."""
    results, run = cell.results(folder), cell.facts(folder)
    assert results is not None
    scores = results["test"] or results["validation"]
    if place is not None and study.weights == "ema":
        scores = {**results["validation"], **results["candidates"]["ema"]}
    run["data"] = {name: value for name, value in run["data"].items() if name != "classes"}
    return {
        "cell": cell.name,
        "row": place.row if place else None,
        "column": place.column if place else None,
        "seed": run["seed"],
        **{name: scores[name] for name in ("split", "count", "top1", "loss")},
        "weights": results["weights"],
        "candidates": results["candidates"],
        "training": results["training"],
        "run": run,
    }


def failure_of(run: Failed, place: Place | None) -> dict[str, Any]:
    """A run that came to nothing, as one that diverges does: where it would stand in the table, and why."""
    return {
        "cell": run.cell.name,
        "row": place.row if place else None,
        "column": place.column if place else None,
        "seed": place.seed if place else None,
        "failed": run.reason,
    }


def finished(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records without those of failures."""
    return [each for each in records if "failed" not in each]


def failed(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of failures alone."""
    return [each for each in records if "failed" in each]


def top1(records: Sequence[dict[str, Any]], row: str, column: str) -> dict[int, float]:
    """Top-1 of a cell of the table by seed."""
    return {each["seed"]: each["top1"] for each in finished(records) if (each["row"], each["column"]) == (row, column)}


def failures(records: Sequence[dict[str, Any]], row: str, column: str) -> int:
    """How many runs of a cell of the table failed."""
    return sum((each["row"], each["column"]) == (row, column) for each in failed(records))


def shown_columns(study: Study, records: Sequence[dict[str, Any]]) -> list[str]:
    """The columns that have a run."""
    return [name for name in study.columns if any(each["column"] == name for each in records)]


def table_of(study: Study, records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Mean top-1 in percent of each row and column, ± the reach of its 95 % interval, and how many runs failed."""
    columns = shown_columns(study, records)
    lines = [[row, *(_in_cell(records, row, name) for name in columns)] for row in study.rows]
    return [[study.row_label, *columns], *(line for line in lines if set(line[1:]) != {ABSENT})]


def _in_cell(records: Sequence[dict[str, Any]], row: str, column: str) -> str:
    values, lost = [*top1(records, row, column).values()], failures(records, row, column)
    if not values:
        return f"{lost} failed" if lost else ABSENT
    mean, (_, high) = statistics.fmean(values), interval(values)
    reach = f" ± {100 * (high - mean):.1f}" if high is not None else ""
    return f"{100 * mean:.1f}{reach}" + (f" ({lost} failed)" if lost else "")


def difference(
    study: Study, records: Sequence[dict[str, Any]], pair: tuple[str, str], column: str | None
) -> Difference | None:
    """The second row of `pair` less the first, over the seeds that both have; None where there are none.

    Args:
        column: of the table; None takes the mean over all columns, for seeds that both rows have in each.
    """
    names = [column] if column is not None else shown_columns(study, records)
    both = [(top1(records, pair[0], name), top1(records, pair[1], name)) for name in names]
    seeds = sorted(set.intersection(*(set(before) & set(after) for before, after in both))) if both else []
    if not seeds:
        return None
    sides = [[statistics.fmean(each[side][seed] for each in both) for seed in seeds] for side in (0, 1)]
    return paired(*sides)


def differences_of(study: Study, records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """For each pair of rows and each column, how much the second reaches more, in points of top-1."""
    lines = [["Difference, points", "Mean", "95 % interval", "p", "Seeds in which it is larger"]]
    columns: list[str | None] = [*shown_columns(study, records)]
    for pair in study.pairs:
        for column in [*columns, None] if len(columns) > 1 else columns:
            found = difference(study, records, pair, column)
            if found is not None:
                lines.append([f"{pair[1]} over {pair[0]}, {column or 'mean of all'}", *_in_words(found)])
    return lines


def _in_words(found: Difference) -> list[str]:
    ends = (
        f"{100 * found.low:+.1f} to {100 * found.high:+.1f}"
        if found.low is not None and found.high is not None
        else ABSENT
    )
    p = ABSENT if found.p is None else f"{found.p:.3f}" if found.p >= 0.001 else "< 0.001"
    return [f"{100 * found.mean:+.1f}", ends, p, f"{found.larger} of {found.pairs}"]
