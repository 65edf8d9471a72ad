"""Scores of any checkpoint on any split, preprocessed as wherever it is loaded."""

import datetime
import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator

from nfft.config.task import Task
from nfft.config.views import SINGLE, several
from nfft.data.sources.account import Account
from nfft.data.splits import Data, Split, load_data, load_whole_data, public_source, source_hash
from nfft.data.workers import workers_end
from nfft.distributed.accelerator import check_alike, default_workers, precision_of
from nfft.errors import UserError
from nfft.evaluation.metrics import scores_of
from nfft.evaluation.predictor import Predictor
from nfft.evaluation.views import AveragedViews
from nfft.machine import hardware, versions
from nfft.models.build import check_side
from nfft.models.transforms import stored_preprocessing
from nfft.models.validation import check_finite
from nfft.runs.records import EvaluatedModel, EvaluatedTask, Evaluation, HardwareRecord, UnusedRecord

if TYPE_CHECKING:
    from nfft.auto import AutoNFNet

BATCH = 64


@dataclass(frozen=True)
class EvaluationPlan:
    """What is to be scored on what, once it is seen to fit.

    Attributes:
        split: its labels are places among the model's classes.
        account: what of the data is not used.
        notes: lines about what is taken for granted of the model, and of the machine.
        resolution: px.
        views: of each picture, whose probabilities are averaged.
        revision: of the model's repository, where one was asked for.
    """

    classifier: "AutoNFNet"
    task: Task
    split: Split
    account: Account
    notes: list[str]
    resolution: int
    views: AveragedViews
    revision: str | None = None

    @property
    def lines(self) -> list[str]:
        """For people, before anything is scored."""
        return [*self.account.lines, *self.notes]


def plan_evaluation(
    classifier: "AutoNFNet",
    task: Task,
    *,
    split: str | None = None,
    resolution: int | None = None,
    views: str = SINGLE,
    revision: str | None = None,
) -> EvaluationPlan:
    """Find the images, before any is scored.

    Args:
        split: "train", "validation", "test", or "all" of data with one split; test, or else validation, when absent.
        resolution: px; the checkpoint's when absent.
        views: one of VIEWS.

    Raises:
        UserError: when there is no such split, no such views, or the model does not take this resolution or tell these
            classes apart.
    """
    checkpoint = classifier.checkpoint
    resolution = resolution or checkpoint.test_side
    averages = AveragedViews(views, resolution)
    check_side(classifier.network, checkpoint.architecture, resolution, "--resolution ")
    classes, images, account = load_whole_data(task) if split == "all" else chosen_split(load_data(task), split)
    images, notes = renumbered(images, classes, classifier, task)
    images = replace(images, rendering=checkpoint.rendering.changed_by(task))
    if averages.are_mirrored and task.suggests.get("flip") is False:
        notes.append(f"task {task.name} has pictures that are not to be mirrored, and views {views} mirrors them")
    return EvaluationPlan(classifier, task, images, account, notes, resolution, averages, revision)


def chosen_split(data: Data, name: str | None = None) -> tuple[list[str], Split, Account]:
    """The classes, the split of this name (else test, or validation where there is no test), and data's account."""
    name = name or ("test" if data.test is not None else "validation")
    splits = {split.name: split for split in data.splits}
    if name not in splits:
        raise UserError(f"--split {name}: the task has none; it has {', '.join(splits)}.")
    return data.classes, splits[name], data.account


def renumbered(split: Split, classes: list[str], classifier: "AutoNFNet", task: Task) -> tuple[Split, list[str]]:
    """The split with its classes numbered as the model's, and lines about what is taken for granted.

    By name; in order where the model's classes have no names of their own and are as many.

    Args:
        classes: of the split, by their numbers.

    Raises:
        UserError: when the model does not tell these classes apart.
    """
    labels = classifier.labels
    if not classifier.checkpoint.config.get("label_names") and len(labels) == len(classes):
        return split, ["the model's classes have no names: they are taken to be in the order of the task's"]
    counts = Counter(labels)
    places = {name: place for place, name in enumerate(labels) if counts[name] == 1}
    strange = [name for name in classes if name not in places]
    if not strange:
        return replace(split, labels=np.array([places[name] for name in classes])[split.labels]), []
    if list(labels) == list(classes):
        return split, []
    raise UserError(
        f"the model tells {len(labels)} classes apart ({_some(labels)}); task {task.name} has {len(classes)}, "
        f"among them {_some(strange)}, which it does not know. Fine-tune it on the task first."
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@workers_end()
def run_evaluation(plan: EvaluationPlan, accelerator: Accelerator, command: str) -> Evaluation:
    """Score what was planned, each process its share of the images; every one has the outcome.

    Args:
        command: what was typed or called, for others to read.

    Raises:
        UserError: when none of the images can be read, or processes have found other images or weights.
    """
    classifier, task, split = plan.classifier, plan.task, plan.split
    checkpoint = classifier.checkpoint
    check_alike({"images": hashlib.sha256(split.labels.tobytes()).hexdigest(), "weights": checkpoint.fingerprint})
    preprocessing = stored_preprocessing(checkpoint, plan.resolution)
    predictor = Predictor.as_stored(
        accelerator, preprocessing, workers=default_workers(accelerator), batch_size=BATCH, averages=plan.views
    )
    network = predictor.folded(classifier.network.to(accelerator.device))
    predictions = predictor.predict({"": network}, split, "scoring")[""]
    check_finite(checkpoint.name, torch.from_numpy(predictions.confidence))
    scores = scores_of(predictions, split=split.name, classes=classifier.labels, resolution=plan.resolution)
    return Evaluation(
        model=EvaluatedModel(
            name=checkpoint.title, architecture=checkpoint.architecture, fingerprint=checkpoint.fingerprint
        ),
        task=EvaluatedTask(name=task.name, title=task.title, source=public_source(task), source_hash=source_hash(task)),
        scores=replace(scores, views=several(plan.views.name)),
        resolution=plan.resolution,
        precision=precision_of(accelerator),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=command,
        unused=tuple(UnusedRecord(**vars(unused)) for unused in plan.account.unused),
        revision=plan.revision,
        versions=versions(),
        hardware=HardwareRecord(**hardware(str(accelerator.device))),
    )
