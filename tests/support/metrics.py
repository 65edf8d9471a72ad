"""A run of ten steps as its trackers are told of it."""

import json
from pathlib import Path

from nfft.runs.records import (
    FeatureMetrics,
    Metrics,
    Results,
    RunRecord,
    SolutionMetrics,
    StepMetrics,
    ValidationMetrics,
)
from nfft.training.tracking import Start

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = REPOSITORY / "cards" / "digits-nfnet-nano"
FIGURES = {"loss": 2.5, "top1": 0.25, "lr": 0.1, "clipped": 0.5, "images_per_second": 1234.5}
SOLVED = [
    FeatureMetrics(name="train", images=1259, seconds=3.25),
    SolutionMetrics(l2=0.001, iterations=62, train_loss=0.5, loss=0.75, top1=0.875),
]


def run_record() -> RunRecord:
    return RunRecord.from_json(json.loads((PUBLISHED / "run.json").read_text()))


def results() -> Results:
    return Results.from_json(json.loads((PUBLISHED / "results.json").read_text()))


def start(folder: Path, first_step: int = 0, **changes: object) -> Start:
    facts = {
        "record": run_record(),
        "folder": folder,
        "total_steps": 10,
        "first_step": first_step,
        "replaced_classes": None,
        "has_batch_norm": False,
        "reached": "",
        "notes": (),
    }
    return Start(**(facts | changes))


def metrics(steps: range) -> list[Metrics]:
    """Of each step, and of evaluations after the fifth and the tenth."""
    lines: list[Metrics] = []
    for step in steps:
        lines.append(StepMetrics(step=step, **FIGURES))
        if step % 5 == 0:
            lines.append(ValidationMetrics(step=step, weights="raw", loss=1.5, top1=0.75))
            lines.append(ValidationMetrics(step=step, weights="ema", loss=1.25, top1=0.875))
    return lines
