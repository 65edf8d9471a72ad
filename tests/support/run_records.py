"""Records of a run that nobody ran, as complete as a real one's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nfft.runs.records import (
    Candidate,
    ClassScores,
    DataRecord,
    HardwareRecord,
    ModelRecord,
    RecipeRecord,
    Results,
    RunRecord,
    Scores,
    StepMetrics,
    TaskRecord,
    TrainingRecord,
    ValidationMetrics,
)

NAMES = ("daisy", "rose", "tulip")


def make_run(names: Sequence[str] = NAMES, **task: Any) -> RunRecord:
    """A run on flowers; `task` changes what it was trained on."""
    flowers = TaskRecord(
        name="flowers", title="Flowers", homepage="https://example.org/flowers",
        citation="@article{flowers,\n  title = {Flowers}\n}", license="CC BY 4.0", source="someone/flowers",
    )  # fmt: skip
    settings = {
        "lr": 0.1, "total_steps": 12500, "batch_size": 32, "ema_decay": None, "flip": True, "sam_rho": None,
        "train_resolution": 224, "test_resolution": 256, "test_margin": 32, "workers": None,
    }  # fmt: skip
    return RunRecord(
        command="nfft --task flowers --set lr=0.1", started="2025-05-04T12:00:00+00:00", task=replace(flowers, **task),
        recipe=RecipeRecord(name="auto", settings=settings),
        data=DataRecord(classes=tuple(names), train=4000, validation=400, test=500, skipped=3, fingerprint="1b"),
        seed=7,
        model=ModelRecord(
            name="timm/nfnet_f0.dm_in1k", architecture="nfnet_f0", parameters=71_489_094, trained=71_489_094,
            arguments={}, fingerprint="0a", license="apache-2.0",
        ),
        precision="bf16", processes=1, threads=2, versions={"nfft": "0.1.0", "torch": "2.9.0"},
        hardware=HardwareRecord(device="cpu", name="AMD EPYC", cores=2, memory_bytes=8 * 2**30),
    )  # fmt: skip


def make_scores(names: Sequence[str] = NAMES, split: str = "test", wrong: int = 2, **changes: Any) -> Scores:
    """Eight of each class right, and `wrong` taken for the next class."""
    confusion = [(true, true, 8) for true in range(len(names))]
    confusion += [(true, (true + 1) % len(names), wrong) for true in range(len(names)) if wrong]
    count = sum(images for *_, images in confusion)
    per_class = [ClassScores(name=name, count=10, precision=0.8, recall=0.8, f1=0.8) for name in names]
    scores = Scores(
        split=split, count=count, left_out=0, resolution=256, loss=0.71, top1=8 * len(names) / count,
        top5=0.99 if len(names) > 5 else None, mean_per_class=0.795, ece=0.031, per_class=tuple(per_class),
        confusion=tuple(confusion), images_per_second=210.0,
    )  # fmt: skip
    return replace(scores, **changes)


def make_results(names: Sequence[str] = NAMES, test: bool = True, **scores: Any) -> Results:
    """What came out of it; `scores` changes those that a card quotes."""
    quoted = make_scores(names, "test" if test else "validation", **scores)
    return Results(
        weights="ema",
        candidates={"raw": Candidate(top1=0.78, loss=0.8), "ema": Candidate(top1=0.8, loss=0.7)},
        validation=make_scores(names, "validation") if test else quoted,
        test=quoted if test else None,
        training=TrainingRecord(
            steps=12500, images=400_000, seconds=4000.0, wall_seconds=4000.0, images_per_second=100.0,
            peak_memory_bytes=3 * 2**30,
        ),
    )  # fmt: skip


def make_steps(steps: int, **changes: Any) -> list[StepMetrics]:
    """Metrics of so many steps, from the first on."""
    shared: dict[str, Any] = {"lr": 0.1, "clipped": 0.2, "images_per_second": 100.0}
    return [
        StepMetrics(**({"step": step, "loss": 3 / step, "top1": 1 - 1 / step} | shared | changes))
        for step in range(1, steps + 1)
    ]


def make_validation(step: int, weights: str) -> ValidationMetrics:
    return ValidationMetrics(step=step, weights=weights, loss=1.0, top1=0.5)
