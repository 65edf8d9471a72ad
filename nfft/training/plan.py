"""Everything that is decided before the first step: data, checkpoint, settings."""

import hashlib
import json
import os
from dataclasses import dataclass, replace

import numpy as np

from nfft.config.method import Method
from nfft.config.overrides import read_changes, read_config
from nfft.config.recipe import Facts, Recipe, change
from nfft.config.run_config import RunConfig
from nfft.config.task import Task
from nfft.data import randaugment
from nfft.data.leaks import heed_unlabelled
from nfft.data.scan import notes_on, rendering_for, scan_split
from nfft.data.sources.account import Account
from nfft.data.splits import Data, Split, check_classes, draw_shots, load_data, with_unlabelled
from nfft.errors import UserError
from nfft.models.build import keeps_classifier
from nfft.models.checkpoint import Checkpoint
from nfft.models.resolve import find_checkpoint
from nfft.runs.records import Skipped
from nfft.training.teacher import Teacher, settled, teacher_of

LISTED = 20


@dataclass(frozen=True)
class Plan:
    """A run's config understood.

    Attributes:
        data: without the images that are known not to be readable.
        skipped: those.
        pixels: of all decoded training images together, about.
        fingerprint: hash of classes, labels and the sizes that were looked at: another value is other data.
        checkpoint: without a classifier over several stages.
        had_stages: whether it had one.
        teacher: whose probabilities are learned, too.
    """

    config: RunConfig
    task: Task
    data: Data
    skipped: list[Skipped]
    pixels: int
    fingerprint: str
    checkpoint: Checkpoint
    recipe: Recipe
    method: Method
    had_stages: bool = False
    teacher: Teacher | None = None

    @property
    def total_steps(self) -> int:
        return self.recipe.steps(len(self.data.learned))

    @property
    def notes(self) -> list[str]:
        """Lines about what is allowed and seldom meant."""
        lines = [*self.data.account.lines, *(self.teacher.notes if self.teacher is not None else ())]
        classes = self.data.classes
        if self.had_stages:
            lines.append(
                f"{self.checkpoint.name} has a classifier over several stages, which is left out: this starts from the "
                "network with the last layer's, as timm loads it"
            )
        if keeps_classifier(self.checkpoint, classes) and not self.checkpoint.config.get("label_names"):
            lines.append(
                f"{self.checkpoint.name} does not name its {len(classes)} classes: its classifier is kept, as if they "
                "were those of the task in the same order"
            )
        magnitude, side = self.recipe.randaugment, self.recipe.train_resolution
        if not self.method.heeds("randaugment") or magnitude is None or not randaugment.blanks(magnitude, side):
            return lines
        return [
            *lines,
            f"randaugment={magnitude:g} can blank most of a picture of {side} px: it shifts by up to "
            f"{randaugment.SHIFT * magnitude / 10:g} px. The paper takes 5 at 192 px, 10 to 256 and 15 above; "
            f"in proportion that is --set randaugment={5 * side / 192:.2g}",
        ]


def make_plan(config: RunConfig, *, keeps: bool = False) -> Plan:
    """Find what `config` names, look at the data, and settle every setting.

    Args:
        keeps: keep training images that are decoded to look at them, for a method that sees them again.

    Raises:
        UserError: for whatever the user has to put right.
    """
    resolved = read_config(config)
    task, method, changes = resolved.task, resolved.method, resolved.changes
    found = find_checkpoint(config.model, dict(config.model_args))
    checkpoint, had_stages = found.plain, found.stages is not None
    method.check_checkpoint(config.method, checkpoint)
    data = with_unlabelled(task, load_data(task))
    data, skipped, sizes, fingerprint = _readable(task, data, keeps and method.heeds("total_steps"))
    if config.shots is not None:
        data = draw_shots(data, config.shots, config.seed)
    data = heed_unlabelled(task, data)
    teacher = teacher_of(config.teacher, task, data.classes)
    facts = Facts(
        images=len(data.learned),
        classes=len(data.classes),
        side=round(float(np.median(np.sqrt(sizes.prod(axis=1))))),
        architecture=checkpoint.architecture,
        train_side=checkpoint.train_side,
        test_side=checkpoint.test_side,
        pretrained=checkpoint.folder is not None,
        requested_batch=changes.get("batch_size"),
        validation=len(data.validation),
    )
    recipe = resolved.recipe(facts)
    recipe = replace(recipe, lr=recipe.lr * method.lr_factor)
    recipe = change(change(recipe, read_changes(Recipe, task.suggests, whose="recipe")), changes)
    recipe = settled(recipe, teacher, data)
    if method.heeds("batch_size"):
        _check_batch(recipe, len(data.learned))
    pixels = int(sizes.prod(axis=1).mean() * len(data.learned))
    return Plan(config, task, data, skipped, pixels, fingerprint, checkpoint, recipe, method, had_stages, teacher)


def readable_data(task: Task) -> tuple[Data, list[Skipped], str]:
    """A task's data as a run has them: without the images that cannot be read, those, and the fingerprint of all.

    Raises:
        UserError: as a run would.
    """
    data, skipped, _, fingerprint = _readable(task, load_data(task), keeps=False)
    return data, skipped, fingerprint


def check_shots(config: RunConfig) -> None:
    """See that a run's data have as many training images of each class as it is to draw, and a test split.

    Raises:
        UserError: as the run would.
    """
    task = read_config(config).task
    data, *_ = readable_data(task)
    if config.shots is not None:
        draw_shots(data, config.shots, config.seed)


def _readable(task: Task, data: Data, keeps: bool) -> tuple[Data, list[Skipped], np.ndarray, str]:
    """The data without images that cannot be read, those, sizes of training images (n, 2), and a fingerprint."""
    digest = hashlib.sha256("\n".join(data.classes).encode())
    kept: dict[str, Split] = {}
    skipped, scans = [], []
    total, sizes = 0, np.empty((0, 2), np.int64)
    rendering = data.train.rendering
    for split in data.splits:
        scan = scan_split(split, keeps=keeps and split.name == "train")
        scans.append((split, scan))
        digest.update(split.name.encode() + split.labels.tobytes() + scan.sizes.tobytes())
        total += len(scan.indices)
        whole = np.ones(len(split), bool)
        for image in scan.broken:
            whole[image.index] = False
            skipped.append(Skipped(split=split.name, image=split.where(image.index), reason=image.reason))
        kept[split.name] = split.keep(whole)
        if split.name in ("train", "unlabelled"):
            sizes = np.concatenate([sizes, scan.sizes[scan.sizes.all(axis=1)]])
        if split.name == "train":
            rendering = rendering_for(rendering, scan)
    if len(skipped) > task.max_broken_fraction * total:
        listed = "\n".join(f"  {line.split}: {line.image}: {line.reason}" for line in skipped[:LISTED])
        more = f"\n  ... and {len(skipped) - LISTED} more" if len(skipped) > LISTED else ""
        if all("No such file" in line.reason for line in skipped):
            more += "\nWhere the paths in a table begin in another folder, --set task.images=... names it."
        raise UserError(
            f"{len(skipped)} of {total} images cannot be read, more than max_broken_fraction "
            f"({task.max_broken_fraction:g}) allows. Repair or remove them, or raise it with "
            f"--set task.max_broken_fraction=...\n{listed}{more}"
        )
    check_classes(task, data.classes, {name: split for name, split in kept.items() if name != "unlabelled"})
    if rendered := rendering.to_json():
        digest.update(json.dumps(rendered).encode())
    kept = {name: replace(split, rendering=rendering) for name, split in kept.items()}
    account = data.account + Account(notes=notes_on(scans, rendering))
    readable = Data(data.classes, kept["train"], kept["validation"], kept.get("test"), account, kept.get("unlabelled"))
    return readable, skipped, sizes, digest.hexdigest()


def _check_batch(recipe: Recipe, images: int) -> None:
    if recipe.batch_size > images:
        raise UserError(
            f"the batch size {recipe.batch_size} is larger than the training split ({images} images). "
            f"Use --batch-size {images} or less."
        )
    parts = recipe.parts * int(os.environ.get("WORLD_SIZE", "1"))
    pairs = 2 if recipe.mixup is not None or recipe.cutmix else 1
    if recipe.batch_size % (parts * pairs):
        cause = f"{parts} equal parts (processes × accumulation steps)" + (" of an even size" if pairs == 2 else "")
        nearest_size = max(1, recipe.batch_size // (parts * pairs)) * parts * pairs
        raise UserError(
            f"the batch size {recipe.batch_size} does not divide into {cause}. Use --batch-size {nearest_size}."
        )
