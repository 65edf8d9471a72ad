"""What a teacher says of the training images: learned beside their labels, and in place of those that are missing.

Born-again networks learn so from their like (arXiv 1805.04770); pseudo-labels are such targets of images without any.
"""

import hashlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from nfft.config.recipe import DISTILLING, Recipe
from nfft.config.task import Task
from nfft.data.loader import EvaluationImages
from nfft.data.sources.account import Account, counted
from nfft.data.splits import Data, Split
from nfft.errors import UserError
from nfft.evaluation.predictor import Predictor
from nfft.files import make_folder
from nfft.models.build import build_classifier
from nfft.models.checkpoint import Checkpoint, labels_of
from nfft.models.resolve import find_teacher
from nfft.models.tensors import write_tensors
from nfft.models.transforms import stored_preprocessing
from nfft.models.validation import check_finite
from nfft.runs.folder import CHECKPOINTS
from nfft.text import shorten
from nfft.training.objective import SoftCrossEntropy

BATCH = 64
# Among the states that a run goes on from: to look at all images again could round otherwise.
LOGITS = "teacher.safetensors"


@dataclass(frozen=True)
class Teacher:
    """A classifier that is learned from.

    Attributes:
        labels: its own.
        places: among these, of the task's classes in their order, (classes,).
        notes: lines about what is taken for granted.
    """

    checkpoint: Checkpoint
    labels: list[str]
    places: np.ndarray
    notes: tuple[str, ...] = ()


def teacher_of(name: str | None, task: Task, classes: list[str]) -> Teacher | None:
    """The teacher called `name`, as `--teacher` takes it; None where there is none.

    Raises:
        UserError: when it cannot be had, or tells other classes apart than the task.
    """
    if name is None:
        return None
    checkpoint = find_teacher(name)
    labels = labels_of(checkpoint)
    if not checkpoint.config.get("label_names") and len(labels) == len(classes):
        note = f"the classes of the teacher {checkpoint.title} have no names: they are taken to be the task's, in order"
        return Teacher(checkpoint, labels, np.arange(len(classes)), (note,))
    if Counter(labels) != Counter(classes):
        missing = [each for each in classes if each not in labels]
        extra = [*(Counter(labels) - Counter(classes)).elements()]
        differing = f"it does not know {_some(missing)}" if missing else f"it knows {_some(extra)} as well"
        raise UserError(
            f"--teacher {shorten(name, 200)}: expected one that tells the {len(classes)} classes of task {task.name} "
            f"apart; {differing}. Train one on this task, and name its folder."
        )
    places = {label: place for place, label in enumerate(labels)}
    return Teacher(checkpoint, labels, np.array([places[each] for each in classes]))


def _some(names: list[str]) -> str:
    return ", ".join(shorten(name, 60) for name in names[:3]) + (", ..." if len(names) > 3 else "")


def settled(recipe: Recipe, teacher: Teacher | None, data: Data) -> Recipe:
    """`recipe` with what it leaves open about a teacher.

    Raises:
        UserError: for settings that have no part in the run.
    """
    if teacher is None:
        idle = next((name for name in DISTILLING if getattr(recipe, name) is not None), None)
        if idle is not None:
            raise UserError(f"{idle} has no part in a run without a teacher. Name one with --teacher, or leave it out.")
        return recipe
    if recipe.distill_confidence is not None and data.unlabelled is None:
        raise UserError(
            "distill_confidence leaves out unlabelled images, and there are none. Name a folder of some with --set "
            "task.unlabelled=..., or leave it out."
        )
    usual = 0.5 if data.unlabelled is None else 0.0
    return replace(
        recipe,
        distill_weight=usual if recipe.distill_weight is None else recipe.distill_weight,
        distill_temperature=1.0 if recipe.distill_temperature is None else recipe.distill_temperature,
    )


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of the images of a run.

    Attributes:
        logits: of each image of `Data.learned`, float32, (images, classes), classes as the task numbers them; rows of
            images that it was not asked about, or that could not be read, are not finite.
        key: hash of all that they follow from.
        is_kept: whether they are in the run folder.
    """

    logits: Tensor
    key: str
    is_kept: bool

    def keep(self, folder: Path) -> None:
        """Write it into the run folder, unless it is from there."""
        if not self.is_kept:
            make_folder(folder / CHECKPOINTS)
            write_tensors(folder / CHECKPOINTS / LOGITS, {f"{self.key}.{_digest(self.logits)}": self.logits})


def lesson_of(
    teacher: Teacher, task: Task, data: Data, recipe: Recipe, accelerator: Accelerator, folder: Path, fingerprint: str,
    *, workers: int,
) -> Lesson:  # fmt: skip
    """What `teacher` says of the images of `data`, as the run in `folder` has it already, or anew.

    Args:
        fingerprint: of the data.
        workers: loader processes.
    """
    asked = [split for split in (data.train if recipe.distill_weight else None, data.unlabelled) if split is not None]
    known = [teacher.checkpoint.fingerprint, stored_preprocessing(teacher.checkpoint), teacher.places.tolist()]
    known += [fingerprint, [(split.name, len(split)) for split in asked]]
    key = hashlib.sha256(repr(known).encode()).hexdigest()
    logits = torch.full((len(data.learned), len(teacher.places)), torch.nan)
    if (kept := _kept(folder, key)) is not None and kept.shape == logits.shape:
        return Lesson(kept, key, is_kept=True)
    predictor, network = _ready(teacher, accelerator, workers)
    for split in asked:
        first = 0 if split is data.train else len(data.train)
        shown = replace(split, rendering=teacher.checkpoint.rendering.changed_by(task))
        logits[first : first + len(split)] = _logits(predictor, network, shown, teacher)
    return Lesson(logits, key, is_kept=False)


def _kept(folder: Path, key: str) -> Tensor | None:
    """What an earlier process of the run has kept; None where it is not there, of something else, or damaged."""
    with suppress(OSError, SafetensorError), safe_open(folder / CHECKPOINTS / LOGITS, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(name)
            if tensor.dtype == torch.float32 and name == f"{key}.{_digest(tensor)}":
                return tensor
    return None


def _digest(logits: Tensor) -> str:
    return hashlib.sha256(f"{list(logits.shape)}".encode() + logits.numpy().tobytes()).hexdigest()


def _ready(teacher: Teacher, accelerator: Accelerator, workers: int) -> tuple[Predictor, Any]:
    """The teacher as `nfft evaluate` would have it."""
    preprocessing = stored_preprocessing(teacher.checkpoint)
    predictor = Predictor.as_stored(accelerator, preprocessing, workers=workers, batch_size=BATCH)
    # Weights that are drawn before the checkpoint's are there: none of the run's random numbers are used up.
    with torch.random.fork_rng(devices=[]):
        network = build_classifier(teacher.checkpoint, teacher.labels)
    return predictor, predictor.folded(network.eval().to(accelerator.device))


def _logits(predictor: Predictor, network: Any, split: Split, teacher: Teacher) -> Tensor:
    rows = np.full((len(split), len(teacher.labels)), np.nan, np.float32)
    title = f"the teacher on {split.name} images"
    hidden = predictor.rank > 0
    with tqdm(desc=title, total=len(split), disable=hidden or None, leave=False, delay=2) as bar:
        for outputs in predictor.outputs(
            lambda images: network(images).float(), EvaluationImages(split, predictor.view)
        ):
            if len(outputs.indices):
                rows[outputs.indices] = outputs.rows
                check_finite(teacher.checkpoint.name, torch.from_numpy(outputs.rows))
            bar.update(outputs.done - bar.n)
    return torch.from_numpy(rows[:, teacher.places])


def learned_from(lesson: Lesson, data: Data, recipe: Recipe) -> tuple[Data, SoftCrossEntropy]:
    """The data as a teacher leaves them, and the target of each image.

    Images without labels get the class that it finds most probable, by which the top-1 of a step counts, and its
    probabilities as their target; those of which it is not sure enough, or that it could not read, are left out.
    Labels are smoothed, what it says is not.
    """
    assert recipe.distill_weight is not None and recipe.distill_temperature is not None
    count, classes = len(data.train), lesson.logits.shape[1]
    answers = (lesson.logits / recipe.distill_temperature).softmax(1)
    labels = F.one_hot(torch.from_numpy(data.train.labels), classes).float()
    labels = labels * (1 - recipe.label_smoothing) + recipe.label_smoothing / classes
    mixed = (1 - recipe.distill_weight) * labels + recipe.distill_weight * answers[:count]
    targets = torch.where(answers[:count].isfinite().all(1, keepdim=True), mixed, labels)
    if data.unlabelled is None:
        return data, SoftCrossEntropy(targets)
    confidence, first = lesson.logits[count:].softmax(1).max(1)
    is_read = confidence.isfinite().numpy()
    is_used = is_read & (confidence.numpy() >= (recipe.distill_confidence or 0))
    unlabelled = replace(data.unlabelled, labels=first.numpy()).keep(is_used) if is_used.any() else None
    unsure = f"the teacher is less than {recipe.distill_confidence or 0:g} sure of it"
    left_out = [f"unlabelled: {unsure if read else 'cannot be read'}" for read in is_read[~is_used]]
    account = data.account + Account(counted("file", left_out))
    table = torch.cat([targets, answers[count:][torch.from_numpy(is_used)]])
    return replace(data, unlabelled=unlabelled, account=account), SoftCrossEntropy(table)
