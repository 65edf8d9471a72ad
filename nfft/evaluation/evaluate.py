"""Scores of any checkpoint on any split, preprocessed as wherever it is loaded."""

import datetime
import sys
from typing import TYPE_CHECKING, Any

from nfft.command_line import public_command
from nfft.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator

    from nfft.auto import AutoNFNet
    from nfft.config.task import Task
    from nfft.data.splits import Data, Split

from nfft.evaluation.predictor import predict_split


def evaluate_split(
    classifier: "AutoNFNet", task: "Task", split: "Split", resolution: int, accelerator: "Accelerator"
) -> dict[str, Any]:
    """The content of results.json."""
    from nfft.data.splits import public_source, source_hash
    from nfft.distributed.accelerator import precision_of
    from nfft.evaluation.metrics import scores_of
    from nfft.machine import hardware, versions

    predictions = predict_split(classifier, split, resolution, accelerator)
    checkpoint = classifier.checkpoint
    return {
        "model": {
            "name": checkpoint.title,
            "architecture": checkpoint.architecture,
            "fingerprint": checkpoint.fingerprint,
        },
        "task": {
            "name": task.name,
            "title": task.title,
            "source": public_source(task),
            "source_hash": source_hash(task),
        },
        "scores": scores_of(predictions, split=split.name, classes=classifier.labels, resolution=resolution),
        "resolution": resolution,
        "precision": precision_of(accelerator),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": public_command(),
        "versions": versions(),
        "hardware": hardware(str(accelerator.device)),
    }


def chosen_split(loaded: "Data", asked: str | None) -> tuple[list[str], "Split"]:
    """The classes, and the split that was asked for; else test, or validation where there is no test."""
    name = asked or ("test" if loaded.test is not None else "validation")
    found = {split.name: split for split in loaded.splits}
    if name not in found:
        raise UserError(f"--split {name}: the task has none; it has {', '.join(found)}.")
    return loaded.classes, found[name]


def places_in_model(classifier: "AutoNFNet", task: "Task", classes: list[str]) -> "np.ndarray":
    """For each class of the data, its place among the model's.

    By name; in order where the model's classes have no names of their own and are as many.

    Raises:
        UserError: when the model does not tell these classes apart.
    """
    import numpy as np

    labels = classifier.labels
    if not classifier.checkpoint.config.get("label_names") and len(labels) == len(classes):
        print("the model's classes have no names: they are taken to be in the order of the task's", file=sys.stderr)
        return np.arange(len(labels))
    places = {name: place for place, name in enumerate(labels) if labels.count(name) == 1}
    strange = [name for name in classes if name not in places]
    if not strange:
        return np.array([places[name] for name in classes])
    if list(labels) == list(classes):
        return np.arange(len(labels))
    raise UserError(
        f"the model tells {len(labels)} classes apart ({_some(labels)}); task {task.name} has {len(classes)}, "
        f"among them {_some(strange)}, which it does not know. Fine-tune it on the task first."
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
