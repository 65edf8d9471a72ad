"""Comparisons and studies written down: what came out of each run, and from that a table, a plot and a card."""

import json
from collections.abc import Sequence
from pathlib import Path

from nfft.config.study import Study
from nfft.experiments.card import render_curves, render_study
from nfft.experiments.cells import Cell, Failed, Place, in_order
from nfft.experiments.compare import table_of
from nfft.experiments.learning_curve import table_of_curves
from nfft.experiments.plots import plot_comparison, plot_learning_curves, plot_study
from nfft.experiments.records import RECORDS, Comparison, ComparisonRow, LearningCurve, StudyLine, finished
from nfft.experiments.results import record_of, record_of_failure
from nfft.files import remove_unfinished, write_json, write_text
from nfft.reporting.plots.figure import save_figure
from nfft.runs.folder import CARD
from nfft.text import in_markdown

# What is written of a comparison.
COMPARED = {"compare.json", "compare.md", "compare.png", CARD}


def write_comparison(rows: Sequence[ComparisonRow], folder: Path, title: str, command: str) -> None:
    """Write compare.json, and the same as a table and a plot.

    Args:
        title: of the plot.
        command: what was typed.
    """
    _write_tables(folder, Comparison(command=command, methods=tuple(rows)), in_markdown(table_of(rows)))
    save_figure(plot_comparison(rows, title), folder / "compare.png")


def write_curves(
    curves: Sequence[LearningCurve],
    rows: Sequence[ComparisonRow],
    cells: Sequence[Cell],
    folder: Path,
    title: str,
    command: str,
) -> None:
    """Write the same where there are several numbers of shots: the plot is of learning curves, and there is a card.

    Args:
        curves: one a method.
        cells: of all rows.
        title: of plot and card.
        command: what was typed.
    """
    content = Comparison(command=command, methods=tuple(rows), curves=tuple(curves))
    _write_tables(folder, content, in_markdown(table_of_curves(curves)) + "\n" + in_markdown(table_of(rows)))
    save_figure(plot_learning_curves(curves, rows, title), folder / "compare.png")
    write_text(folder / CARD, render_curves(curves, rows, cells, folder, title, command))


def _write_tables(folder: Path, content: Comparison, tables: str) -> None:
    remove_unfinished(folder, COMPARED.__contains__)
    write_json(folder / "compare.json", content.to_json())
    write_text(folder / "compare.md", tables)


def write_study(study: Study, table: Sequence[Place], folder: Path, command: str) -> list[StudyLine]:
    """Write the records of all runs that are done or failed, and from them a card and a plot; returns the records.

    Args:
        command: what was typed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder, {RECORDS, "study.png", CARD}.__contains__)
    places = {place.cell.name: place for place in table}
    cells = in_order(table)
    records: list[StudyLine] = [
        record_of(study, cell, folder, places.get(cell.name)) for cell in cells if cell.is_done(folder)
    ]
    failures = [Failed(cell, reason) for cell in cells if (reason := cell.failure(folder)) is not None]
    records += [record_of_failure(failure, places.get(failure.cell.name)) for failure in failures]
    lines = (json.dumps(record.to_json(), ensure_ascii=False) for record in records)
    write_text(folder / RECORDS, "".join(f"{line}\n" for line in lines))
    if any(run.row is not None for run in finished(records)):
        save_figure(plot_study(study, records), folder / "study.png")
        write_text(folder / CARD, render_study(study, records, command))
    return records
