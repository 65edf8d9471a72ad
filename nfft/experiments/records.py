"""What comparisons and studies write down, as types: compare.json, and runs.jsonl of a study."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nfft.runs.record import OMITTED, Count, Record, check_version, read_records
from nfft.runs.records import Candidate, RunRecord, TrainingRecord

RECORDS = "runs.jsonl"


@dataclass(frozen=True, kw_only=True)
class ComparisonRow(Record):
    """What the runs of a method have in common and how they differ.

    Attributes:
        method: its name.
        shots: training images of each class; left out where all were trained on.
        split, images: that were scored, and how many.
        top1, wall_seconds: of each seed.
        seeds: which those are.
        low, high: ends of the 95 % interval of the mean top-1 (Student's t); null for one seed.
        trained, parameters: how many numbers the method trains, of how many.
        peak_memory_bytes: of the run that took most.
        disk_bytes: of what others load.
    """

    method: str
    shots: Count | None = field(default=None, metadata=OMITTED)
    split: str
    images: Count
    top1: tuple[float, ...]
    seeds: tuple[int, ...] = ()
    low: float | None
    high: float | None
    trained: Count
    parameters: Count
    wall_seconds: tuple[float, ...]
    peak_memory_bytes: Count
    disk_bytes: Count


@dataclass(frozen=True, kw_only=True)
class LawRecord(Record):
    """error = floor + scale · shots^-exponent, as it was fitted.

    Attributes:
        floor: the share of wrong answers that no number of images takes away.
        scale, exponent: of what each image a class takes away.
        misfit, misfit_at: how far it is from the mean that it is farthest from, as a share, and at how many shots.
        is_poor: whether it is farther from the means than chance makes.
    """

    floor: float
    scale: float
    exponent: float
    misfit: float
    misfit_at: Count
    is_poor: bool

    def error(self, shots: float) -> float:
        """The share of wrong answers that it has for so many images a class."""
        return self.floor + self.scale * shots**-self.exponent


@dataclass(frozen=True, kw_only=True)
class Need(Record):
    """How many images a class a wanted top-1 would take.

    Attributes:
        wanted: the top-1, a share.
        outcome: "measured" where so many were tried and it was reached; "estimated" by the law; "beyond" the `limit`;
            "flat" where the curve does not rise, "too few" where too few numbers of shots were tried for a law.
        images: that are needed; null but where they were measured or estimated.
        low, high: ends of the 95 % interval of an estimate; null where they are beyond the limit, or (low, of an
            estimate) where there is no interval.
    """

    wanted: float
    outcome: Literal["measured", "estimated", "beyond", "flat", "too few"]
    images: Count | None
    low: Count | None
    high: Count | None


@dataclass(frozen=True, kw_only=True)
class LearningCurve(Record):
    """What a method reaches by number of images a class, and what follows for others.

    Attributes:
        method: its name.
        shots: ascending.
        top1: its mean at each of these.
        low, high: ends of its 95 % interval (Student's t); null where there is none.
        limit: how far the law is carried: ten times the largest number of shots.
        is_flat: whether it rises with the number of shots by no more than chance makes.
        law: null where there are fewer than three numbers of shots, or the curve is flat.
        need: null where no top-1 is wanted.
        sentence: all of that in words.
    """

    method: str
    shots: tuple[Count, ...]
    top1: tuple[float, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    limit: Count
    is_flat: bool
    law: LawRecord | None
    need: Need | None
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Comparison(Record):
    """compare.json: methods side by side.

    Attributes:
        command: what was typed, without paths of the machine.
        methods: a row each, or one for each number of shots.
        curves: one a method, where there are several numbers of shots.
    """

    command: str
    methods: tuple[ComparisonRow, ...]
    curves: tuple[LearningCurve, ...] | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, kw_only=True)
class StudyRecord(Record):
    """A line of runs.jsonl: where a finished run stands in the table, what came out, and what was run.

    Attributes:
        cell: its folder's name.
        row, column, seed: of the table; row and column are null for a run that others start from.
        split, count, top1, loss: what the table is of: scores on test, or on validation where there is no test split
            or the study is of averaged weights.
        weights: that were kept, as in results.json.
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
