"""A trainer's facts as the records of its run folder: run.json, and results.json."""

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, cast

import torch

from nfft.command_line import public_path
from nfft.config.run_config import RunConfig
from nfft.data.pictures import Pictures, changed_pictures, look_at_pictures
from nfft.data.sources.unlabelled import unlabelled_name
from nfft.data.splits import Split, public_source
from nfft.distributed.accelerator import precision_of
from nfft.errors import UserError
from nfft.evaluation.metrics import candidate_of, scores_of
from nfft.machine import hardware, peak_memory, versions
from nfft.models.build import is_normalized, keeps_classifier
from nfft.models.checkpoint import saved_classes
from nfft.runs.records import (
    Candidate,
    DataRecord,
    HardwareRecord,
    HeadStartRecord,
    MethodRecord,
    ModelRecord,
    PicturesRecord,
    RecipeRecord,
    Results,
    RunRecord,
    Scores,
    StagesRecord,
    TaskRecord,
    TeacherRecord,
    TrainingRecord,
    UnlabelledRecord,
    UnusedRecord,
)
from nfft.training.base import BaseTrainer
from nfft.training.tracking import Start


def record_of(trainer: BaseTrainer) -> RunRecord:
    """run.json: what was asked, what was settled, on what machine."""
    plan, accelerator = trainer.plan, trainer.accelerator
    task, config, data, checkpoint = plan.task, plan.config, plan.data, plan.checkpoint
    teacher = plan.teacher.checkpoint if plan.teacher is not None else None
    settings = {**asdict(plan.recipe), "total_steps": plan.total_steps}
    parameters = list(trainer.network.parameters())
    return RunRecord(
        command=config.command,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        task=TaskRecord(
            name=task.name,
            source=public_source(task),
            title=task.title,
            homepage=task.homepage,
            citation=task.citation,
            license=task.license,
            metric=cast(Literal["top1", "mean_per_class"], task.metric),  # Task has seen to it
            note=task.note,
            settings=_task_settings(config) or None,
        ),
        recipe=RecipeRecord(
            name=config.recipe, settings={name: value for name, value in settings.items() if plan.method.heeds(name)}
        ),
        method=MethodRecord(name=config.method, settings=asdict(plan.method), artifact=plan.method.artifact),
        data=DataRecord(
            classes=tuple(data.classes),
            train=len(data.train),
            validation=len(data.validation),
            test=len(data.test) if data.test is not None else 0,
            shots=config.shots,
            skipped=len(plan.skipped),
            unused=tuple(UnusedRecord(**vars(unused)) for unused in data.account.unused),
            notes=data.account.notes,
            rendering=data.train.rendering.to_json(),
            fingerprint=plan.fingerprint,
            pictures=PicturesRecord(
                **vars(look_at_pictures(data.splits, config.seed, whole=task.check == "all")),
            ),
            unlabelled=UnlabelledRecord(folder=unlabelled_name(task), images=len(data.unlabelled))
            if data.unlabelled is not None
            else None,
        ),
        seed=config.seed,
        model=ModelRecord(
            name=checkpoint.title,
            architecture=checkpoint.architecture,
            parameters=sum(parameter.numel() for parameter in parameters),
            trained=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            arguments=dict(config.model_args),
            fingerprint=checkpoint.fingerprint,
            license=checkpoint.preprocessing.get("license"),
        ),
        teacher=TeacherRecord(name=teacher.title, fingerprint=teacher.fingerprint) if teacher is not None else None,
        precision=precision_of(accelerator),
        processes=accelerator.num_processes,
        threads=torch.get_num_threads(),
        versions=versions(),
        hardware=HardwareRecord(**hardware(str(accelerator.device))),
    )


def _task_settings(config: RunConfig) -> dict[str, Any]:
    """Settings of the task, for others to read: of paths only the last parts."""
    asked = {name.removeprefix("task."): value for name, value in config.settings.items() if name.startswith("task.")}
    plain = (bool, int, float, type(None))
    return {name: value if isinstance(value, plain) else public_path(str(value)) for name, value in asked.items()}


def check_pictures(folder: Path, started: RunRecord, now: RunRecord, splits: Sequence[Split]) -> list[str]:
    """See that a run that goes on has the pictures that it was started with; returns lines about what is not known.

    Args:
        now: what the run would be if it started now, on `splits`.

    Raises:
        UserError: saying what has changed.
    """
    before, after = started.data.pictures, now.data.pictures
    if before is None or after is None:
        return []
    changed = changed_pictures(splits, now.seed, Pictures(**vars(before)), Pictures(**vars(after)))
    if changed is not None:
        raise UserError(
            f"--resume: the pictures are not those that the run in {folder} was started with: {changed}. Put the "
            "earlier ones back, or start anew with another --output-dir."
        )
    if after.content is not None and before.content is None:
        return ["the run was started without task.check=all: only some of the pictures could be compared"]
    return []


def start_of(trainer: BaseTrainer, record: RunRecord, notes: Sequence[str]) -> Start:
    """What there is to tell before the first step."""
    checkpoint, classes = trainer.plan.checkpoint, trainer.plan.data.classes
    is_kept = checkpoint.folder is None or keeps_classifier(checkpoint, classes)
    return Start(
        record=record,
        folder=trainer.folder,
        total_steps=trainer.plan.total_steps,
        first_step=trainer.step,
        replaced_classes=None if is_kept else saved_classes(checkpoint),
        has_batch_norm=is_normalized(trainer.network),
        reached=trainer.reached,
        notes=notes,
    )


def results_of(trainer: BaseTrainer) -> Results | None:
    """Keep the better weights, and score them; the results are the main process's."""
    outcome = trainer.finish()
    if not trainer.accelerator.is_main_process:
        return None
    classes, resolution = trainer.plan.data.classes, trainer.plan.recipe.test_resolution

    def scores(split: str) -> Scores:
        predictions = outcome.test if split == "test" else outcome.validation[outcome.weights]
        assert predictions is not None
        return scores_of(predictions, split=split, classes=classes, resolution=resolution)

    last, start = outcome.last_layer, outcome.head_start
    return Results(
        weights=outcome.weights,
        candidates={name: candidate_of(predictions) for name, predictions in outcome.validation.items()},
        validation=scores("validation"),
        test=scores("test") if outcome.test is not None else None,
        training=TrainingRecord(
            **asdict(outcome.effort),
            wall_seconds=trainer.seconds,
            images_per_second=outcome.effort.images / outcome.effort.seconds,
            peak_memory_bytes=peak_memory(str(trainer.accelerator.device)),
        ),
        stages=None
        if last is None
        else StagesRecord(
            stages=last.stages,
            l2=last.l2,
            validation=candidate_of(last.validation),
            test=candidate_of(last.test) if last.test is not None else None,
        ),
        head_start=None
        if start is None
        else HeadStartRecord(
            l2=start.l2, validation=Candidate(top1=start.top1, loss=start.loss), seconds=start.seconds
        ),
    )
