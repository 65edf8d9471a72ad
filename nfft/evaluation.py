"""Scores of any checkpoint on any split, preprocessed as wherever it is loaded."""

import datetime
import sys
from typing import TYPE_CHECKING, Any

from nfft import invocation
from nfft.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator

    from nfft.auto import AutoNFNet
    from nfft.data import Data, Split
    from nfft.score import Predictions
    from nfft.task import Task

BATCH = 64


def scored(
    classifier: "AutoNFNet", task: "Task", split: "Split", resolution: int, accelerator: "Accelerator"
) -> dict[str, Any]:
    """The content of results.json."""
    from nfft import data, run, score
    from nfft.device import name_of

    predictions = predict(classifier, split, resolution, accelerator)
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
            "source": data.public_source(task),
            "source_hash": data.source_hash(task),
        },
        "scores": score.scores(predictions, split=split.name, classes=classifier.labels, resolution=resolution),
        "resolution": resolution,
        "precision": name_of(accelerator),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": invocation.public_command(),
        "versions": run.versions(),
        "hardware": run.hardware(str(accelerator.device)),
    }


def chosen_split(loaded: "Data", asked: str | None) -> tuple[list[str], "Split"]:
    """The classes, and the split that was asked for; else test, or validation where there is no test."""
    name = asked or ("test" if loaded.test is not None else "validation")
    found = {split.name: split for split in loaded.splits}
    if name not in found:
        raise UserError(f"--split {name}: the task has none; it has {', '.join(found)}.")
    return loaded.classes, found[name]


def as_model_has_them(classifier: "AutoNFNet", task: "Task", classes: list[str]) -> "np.ndarray":
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


def predict(classifier: "AutoNFNet", split: "Split", resolution: int, accelerator: "Accelerator") -> "Predictions":
    """Predictions over `split` at `resolution`, through the transform that is stored with the checkpoint."""
    import torch
    from torch import Tensor
    from tqdm import tqdm

    from nfft import layout, model, score
    from nfft.device import autocast_dtype, default_workers
    from nfft.folding import fold
    from nfft.loader import EvaluationImages, evaluation_loader

    device = accelerator.device
    network = fold(classifier.network.to(device), dtype=autocast_dtype(accelerator))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    preprocessing = layout.stored(classifier.checkpoint, resolution)
    mean, std = (torch.tensor(preprocessing[name], device=device).view(3, 1, 1) for name in ("mean", "std"))

    def logits_of(images: Tensor) -> Tensor:
        with accelerator.autocast():
            return network(model.normalise(images.to(device), mean, std))

    batches = evaluation_loader(
        EvaluationImages(split, layout.pixels_of(preprocessing)),
        batch_size=BATCH,
        rank=0,
        processes=1,
        workers=default_workers(accelerator),
    )
    shown = tqdm(batches, "scoring", disable=None, leave=False, delay=2)
    return score.predict({"": logits_of}, shown, list)[""]
