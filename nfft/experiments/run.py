"""The runs of a study checked before, and written after."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nfft.command_line import public_command
from nfft.config.overrides import read_config
from nfft.config.registry import task as find_task
from nfft.config.study import Study
from nfft.errors import UserError
from nfft.experiments.cells import Cell, Changes, Failed, Place, in_order, tasks_of
from nfft.experiments.results import failure_of, finished, record_of
from nfft.files import write_text

RECORDS = "runs.jsonl"


def check_study(study: Study, cells: Sequence[Cell], changes: Changes) -> None:
    """See that what the runs name exists, before the first of many.

    Raises:
        UserError: as `nfft finetune` would.
    """
    for name in sorted(tasks_of(study)):
        try:
            find_task(changes.tasks.get(name, name))
        except UserError as error:
            raise UserError(f"{error} Say where the images are: --data {name}=FOLDER.") from error
    for cell in cells:
        asked = read_config(cell.config)
        if study.weights == "ema" and "ema_decay" in asked.changes and asked.changes["ema_decay"] is None:
            raise UserError(f"{cell.name} averages no weights, which are what the study's table is of.")


def write_study(study: Study, table: Sequence[Place], folder: Path) -> list[dict[str, Any]]:
    """Write the records of all runs that are done or failed, and from them a card and a plot; returns the records."""
    from nfft.experiments.card import render_study
    from nfft.experiments.plots import plot_study

    folder.mkdir(parents=True, exist_ok=True)
    where = {place.cell.name: place for place in table}
    cells = in_order(table)
    done = [cell for cell in cells if cell.results(folder)]
    records = [record_of(study, cell, folder, where.get(cell.name)) for cell in done]
    failed = [Failed(cell, reason) for cell in cells if (reason := cell.failure(folder)) is not None]
    records += [failure_of(each, where.get(each.cell.name)) for each in failed]
    write_text(folder / RECORDS, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records))
    if any(each["row"] for each in finished(records)):
        plot_study(study, records, folder / "study.png")
        write_text(folder / "README.md", render_study(study, records, public_command()))
    return records
