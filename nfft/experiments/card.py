"""The cards of studies and learning curves: tables, what follows from them, and how they came about."""

from collections.abc import Sequence
from pathlib import Path

from nfft.config.study import Study
from nfft.experiments.cells import Cell
from nfft.experiments.compare import table_of as table_of_methods
from nfft.experiments.learning_curve import table_of_curves
from nfft.experiments.records import ComparisonRow, LearningCurve, StudyLine, StudyRecord, failed, finished
from nfft.experiments.results import differences_of, table_of
from nfft.reporting import markdown
from nfft.reporting.model_card import template
from nfft.runs.records import RunRecord


def render_study(study: Study, records: Sequence[StudyLine], command: str) -> str:
    """The README.md of a study: its table, differences, and how they came about.

    Args:
        records: of its runs.
        command: what was typed.
    """
    done = finished(records)
    in_table = [record for record in done if record.row is not None]
    facts = {
        "study": study,
        "command": command,
        "runs": len(done),
        "seeds": len({record.seed for record in in_table}),
        "splits": _splits(in_table),
        "table": _escaped(table_of(study, records)),
        "differences": _escaped(differences_of(study, records)),
        "hardware": list(dict.fromkeys(_hardware(record.run) for record in done)),
        "precisions": sorted({record.run.precision for record in done}),
        "seconds": sum(record.training.wall_seconds for record in done),
        "versions": list(dict.fromkeys(_versions(record.run) for record in done)),
        "pretrained": [record for record in done if record.row is None],
        "failed": failed(records),
    }
    return template("study.md").render(facts)


def render_curves(
    curves: Sequence[LearningCurve],
    rows: Sequence[ComparisonRow],
    cells: Sequence[Cell],
    folder: Path,
    title: str,
    command: str,
) -> str:
    """The README.md of a comparison with several numbers of shots: curves, what follows, and how they came about.

    Args:
        curves: one a method.
        rows: one for each method and number of shots.
        cells: of all of them.
        folder: of all runs.
        command: what was typed.
    """
    done = [cell for cell in cells if cell.is_done(folder)]
    runs = [cell.run(folder) for cell in done]
    failures = [(cell.name, reason) for cell in cells if (reason := cell.failure(folder)) is not None]
    facts = {
        "title": title,
        "command": command,
        "curves": curves,
        "table": _escaped(table_of_curves(curves)),
        "rows": _escaped(table_of_methods(rows)),
        "runs": len(done),
        "seeds": len({run.seed for run in runs}),
        "split": rows[0].split,
        "images": max(row.images for row in rows),
        "wanted": next((curve.need.wanted for curve in curves if curve.need is not None), None),
        "classes": len(runs[0].data.classes),
        "task": runs[0].task.name,
        "model": runs[0].model.name,
        "hardware": list(dict.fromkeys(_hardware(run) for run in runs)),
        "precisions": sorted({run.precision for run in runs}),
        "seconds": sum(second for row in rows for second in row.wall_seconds),
        "versions": list(dict.fromkeys(_versions(run) for run in runs)),
        "failed": failures,
    }
    return template("curves.md").render(facts)


def _escaped(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[markdown.escape(cell) for cell in line] for line in lines]


def _splits(records: Sequence[StudyRecord]) -> str:
    """Of which split the figures of a study are: "test", or each with its columns where they differ."""
    columns: dict[str, dict[str, None]] = {}
    for record in records:
        columns.setdefault(record.split, {})[str(record.column)] = None
    if len(columns) == 1:
        return next(iter(columns))
    return " and ".join(
        f"{split} ({'; '.join(markdown.escape(name) for name in names)})" for split, names in columns.items()
    )


def _hardware(run: RunRecord) -> str:
    return f"{run.hardware.name}, {markdown.counted(run.threads, 'thread')}"


def _versions(run: RunRecord) -> str:
    return ", ".join(f"{name} {version}" for name, version in run.versions.items())
