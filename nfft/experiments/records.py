"""What comparisons and studies write down, as types: compare.json, and runs.jsonl of a study."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfft.runs.record import Count, Record, check_version, read_records
from nfft.runs.records import Candidate, RunRecord, TrainingRecord

RECORDS = "runs.jsonl"


@dataclass(frozen=True, kw_only=True)
class ComparisonRow(Record):
    """What the runs of a method have in common and how they differ.

    Attributes:
        method: its name.
        split, images: that were scored, and how many.
        top1, wall_seconds: of each seed.
        low, high: ends of the 95 % interval of the mean top-1 (Student's t); null for one seed.
        trained, parameters: how many numbers the method trains, of how many.
        peak_memory_bytes: of the run that took most.
        disk_bytes: of what others load.
    """

    method: str
    split: str
    images: Count
    top1: tuple[float, ...]
    low: float | None
    high: float | None
    trained: Count
    parameters: Count
    wall_seconds: tuple[float, ...]
    peak_memory_bytes: Count
    disk_bytes: Count


@dataclass(frozen=True, kw_only=True)
class Comparison(Record):
    """compare.json: methods side by side.

    Attributes:
        command: what was typed, without paths of the machine.
        methods: a row each.
    """

    command: str
    methods: tuple[ComparisonRow, ...]


@dataclass(frozen=True, kw_only=True)
class StudyRecord(Record):
    """A line of runs.jsonl: where a finished run stands in the table, what came out, and what was run.

    Attributes:
        cell: its folder's name.
        row, column, seed: of the table; row and column are null for a run that others start from.
        split, count, top1, loss: what the table is of: scores on test, or on validation where there is no test split
            or the study is of averaged weights.
        weights: that were kept, "raw" or "ema".
        candidates, training: as in results.json.
        run: run.json, without the names of classes.
    """

    cell: str
    row: str | None
    column: str | None
    seed: int
    split: str
    count: Count
    top1: float
    loss: float
    weights: str
    candidates: dict[str, Candidate]
    training: TrainingRecord
    run: RunRecord

    def to_json(self) -> dict[str, Any]:
        content = super().to_json()
        del content["run"]["data"]["classes"]
        return content

    @classmethod
    def modernized(cls, content: Any) -> Any:
        run = content.get("run") if isinstance(content, dict) else None
        if isinstance(run, dict) and isinstance(run.get("data"), dict):
            run = RunRecord.modernized({**run, "data": {**run["data"], "classes": []}})
            return {**content, "run": run}
        return content


@dataclass(frozen=True, kw_only=True)
class FailedRun(Record):
    """A line of runs.jsonl: a run that came to nothing.

    Attributes:
        cell: its folder's name.
        row, column, seed: where it would stand in the table; null for a run that others start from.
        failed: the last thing that it said.
    """

    cell: str
    row: str | None
    column: str | None
    seed: int | None
    failed: str


StudyLine = StudyRecord | FailedRun


def read_study_lines(path: Path) -> list[StudyLine]:
    """The lines of a study's runs.jsonl.

    Raises:
        UserError: when there is no such file, it is damaged, or a newer nfft has written it.
    """

    def from_json(content: Any) -> StudyLine:
        if isinstance(content, dict) and "failed" in content:
            return FailedRun.from_json(content)
        if isinstance(content, dict):
            check_version(content.get("run"), path.parent)
        return StudyRecord.from_json(content)

    return read_records(from_json, path)


def finished(lines: Iterable[StudyLine]) -> list[StudyRecord]:
    """The runs that came to something."""
    return [line for line in lines if isinstance(line, StudyRecord)]


def failed(lines: Iterable[StudyLine]) -> list[FailedRun]:
    """The runs that came to nothing."""
    return [line for line in lines if isinstance(line, FailedRun)]
