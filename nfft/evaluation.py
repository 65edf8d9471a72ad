"""`nfft evaluate`: score any checkpoint on any task, as it is preprocessed wherever it is loaded."""

import argparse
import datetime
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfft import command, options
from nfft.errors import UserError
from nfft.files import write_json

if TYPE_CHECKING:
    import numpy as np
    from accelerate import Accelerator

    from nfft.auto import AutoNFNet
    from nfft.data import Data, Split
    from nfft.score import Predictions
    from nfft.task import Task

BATCH = 64
# What a card shows of results.json.
ADDED = ("task", "scores", "resolution", "date", "command")


def main(arguments: list[str] | None = None) -> int:
    return command.run(evaluate, options.evaluate_parser().parse_args(arguments))


def evaluate(given: argparse.Namespace) -> int:
    """Score, print, write results.json, and add the scores to a run's card where one is named."""
    from nfft import catalog, data, publish, run, score
    from nfft.auto import AutoNFNet
    from nfft.device import make_accelerator, name_of

    task = changed(catalog.task(given.task), options.pairs(given.set, "--set"))
    loaded = data.load(task)
    accelerator = make_accelerator(given.precision)
    classifier = AutoNFNet.from_pretrained(given.model, revision=given.revision)
    split = chosen_split(loaded, given.split)
    split = replace(split, labels=as_model_has_them(classifier.labels, task, loaded)[split.labels])
    resolution = given.resolution or classifier.checkpoint.test_side
    predictions = predict(classifier, split, resolution, accelerator)
    scores = score.scores(predictions, split=split.name, classes=classifier.labels, resolution=resolution)
    results = {
        "model": {
            "name": classifier.checkpoint.title,
            "architecture": classifier.checkpoint.architecture,
            "revision": given.revision,
            "fingerprint": classifier.checkpoint.fingerprint,
        },
        "task": {"name": task.name, "title": task.title, "source": data.public_source(task)},
        "scores": scores,
        "resolution": resolution,
        "precision": name_of(accelerator),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": options.command(),
        "versions": run.versions(),
        "hardware": run.hardware(str(accelerator.device)),
    }
    output = given.output or default_output(given, split.name, resolution)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, results)
    announce(results, len(predictions.broken))
    print(f"written to  {output}")
    if given.add_to is not None:
        publish.add_evaluation(
            given.add_to, {name: results[name] for name in ("task", "scores", "resolution", "date", "command")}
        )
        print(f"added to    {given.add_to / 'README.md'}")
    return 0


def changed(task: "Task", changes: dict[str, str]) -> "Task":
    """`task` with settings given as text, with or without "task." before their names."""
    from nfft.recipe import read_changes
    from nfft.task import Task

    named = {name.removeprefix("task."): text for name, text in changes.items()}
    return replace(task, **read_changes(Task, named, whose="task"))


def chosen_split(loaded: "Data", asked: str | None) -> "Split":
    """The split that was asked for; else test, or validation where there is no test."""
    name = asked or ("test" if loaded.test is not None else "validation")
    found = {split.name: split for split in loaded.splits}
    if name not in found:
        raise UserError(f"--split {name}: the task has none; it has {', '.join(found)}.")
    return found[name]


def as_model_has_them(labels: list[str], task: "Task", loaded: "Data") -> "np.ndarray":
    """For each class of the data, its place among the model's.

    Raises:
        UserError: when the model does not tell these classes apart.
    """
    import numpy as np

    places = {name: place for place, name in enumerate(labels)}
    if all(name in places for name in loaded.classes) and len(places) == len(labels):
        return np.array([places[name] for name in loaded.classes])
    nameless = all(name.isdecimal() for name in labels)
    if len(labels) == len(loaded.classes) and (nameless or list(labels) == list(loaded.classes)):
        if nameless:
            print("the model's classes have no names: they are taken to be in the order of the task's", file=sys.stderr)
        return np.arange(len(labels))
    strange = [name for name in loaded.classes if name not in places]
    raise UserError(
        f"the model tells {len(labels)} classes apart ({_some(labels)}); task {task.name} has {len(loaded.classes)}, "
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
    from nfft.device import default_workers
    from nfft.loader import evaluation_loader

    device, network = accelerator.device, classifier.network.to(accelerator.device)
    preprocessing = layout.stored(classifier.checkpoint, resolution)
    mean, std = (torch.tensor(preprocessing[name], device=device).view(3, 1, 1) for name in ("mean", "std"))

    def logits_of(images: Tensor) -> Tensor:
        with accelerator.autocast():
            return network(model.normalise(images.to(device), mean, std))

    batches = evaluation_loader(
        split,
        layout.pixels_of(preprocessing),
        batch_size=BATCH,
        rank=0,
        processes=1,
        workers=default_workers(accelerator),
    )
    return score.predict(logits_of, tqdm(batches, "scoring", disable=None, leave=False, delay=2), list)


def announce(results: dict[str, Any], broken: int) -> None:
    """Say how good the model is."""
    scores = results["scores"]
    top5 = f", top-5 {scores['top5']:.2%}" if scores["top5"] is not None else ""
    print(f"{results['model']['name']} on {results['task']['name']} {scores['split']}, {scores['resolution']} px:")
    print(f"top-1 {scores['top1']:.2%}{top5}, loss {scores['loss']:.3f}, {scores['count']:,} images")
    if broken:
        print(f"{broken} images could not be read and are left out")


def default_output(given: argparse.Namespace, split: str, resolution: int) -> Path:
    """runs/evaluate-TASK-MODEL-SPLIT-SIDEpx/results.json."""
    stem = options.default_folder(given).name
    return Path("runs") / f"evaluate-{stem}-{split}-{resolution}px" / "results.json"
