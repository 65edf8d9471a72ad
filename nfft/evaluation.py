"""`nfft evaluate`: score any checkpoint on any task, as it is preprocessed wherever it is loaded."""

import argparse
import datetime
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfft import command, invocation, options, settings
from nfft.errors import UserError
from nfft.files import fingerprint_of, write_json
from nfft.request import default_folder, pairs
from nfft.run import RUN

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
EVALUATED = {"model", "task", "scores", "resolution"}


def main(arguments: list[str] | None = None) -> int:
    return command.run(evaluate, options.evaluate_parser().parse_args(arguments))


def evaluate(given: argparse.Namespace) -> int:
    """Score, print, write results.json, and add the scores to a run's card where one is named."""
    from nfft import data, publish
    from nfft.auto import AutoNFNet
    from nfft.device import make_accelerator
    from nfft.model import check_side

    task = settings.read_task(given.task, pairs(given.set, "--set"))
    accelerator = make_accelerator(given.precision)
    classifier = AutoNFNet.from_pretrained(given.model, revision=given.revision)
    resolution = given.resolution or classifier.checkpoint.test_side
    check_side(classifier.network, classifier.checkpoint.architecture, resolution, "--resolution ")
    classes, split = data.load_whole(task) if given.split == "all" else chosen_split(data.load(task), given.split)
    split = replace(split, labels=as_model_has_them(classifier, task, classes)[split.labels])
    output = given.output or default_output(given, classifier, split.name, resolution)
    check_places(given.add_to, output, classifier)

    results = scored(classifier, task, split, resolution, accelerator) | {"revision": given.revision}
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, results)
    announce(results)
    print(f"written to  {output}")
    if given.add_to is not None:
        for line in publish.add_evaluation(given.add_to, {name: results[name] for name in ADDED}):
            print(line)
        print(f"added to    {given.add_to / 'README.md'}")
    return 0


def check_places(add_to: Path | None, output: Path, classifier: "AutoNFNet") -> None:
    """See, before any work, that what will be written replaces nothing else, and that a card gets its own scores.

    Raises:
        UserError: naming the place and what is wrong with it.
    """
    if output.is_dir():
        raise UserError(f"--output {output} is a folder. Name a file.")
    if output.is_file():
        try:
            is_ours = json.loads(output.read_text(encoding="utf-8")).keys() >= EVALUATED
        except (ValueError, AttributeError, OSError):
            is_ours = False
        if not is_ours:
            raise UserError(f"--output {output} is there already, and is no evaluation. Choose another name.")
    if add_to is None:
        return
    if not (add_to / RUN).is_file():
        raise UserError(f"--add-to {add_to} is not the folder of a run.")
    weights = add_to / classifier.checkpoint.weights
    if not weights.is_file() or fingerprint_of(weights) != classifier.checkpoint.fingerprint:
        raise UserError(f"--add-to {add_to}: the run there has other weights than --model. Name the model's own run.")


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
        "task": {"name": task.name, "title": task.title, "source": data.public_source(task)},
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


def announce(results: dict[str, Any]) -> None:
    """Say how good the model is."""
    scores = results["scores"]
    top5 = f", top-5 {scores['top5']:.2%}" if scores["top5"] is not None else ""
    print(f"{results['model']['name']} on {results['task']['name']} {scores['split']}, {scores['resolution']} px:")
    print(f"top-1 {scores['top1']:.2%}{top5}, loss {scores['loss']:.3f}, {scores['count']:,} images")
    if scores["left_out"]:
        print(f"{scores['left_out']} images could not be read and are left out")


def default_output(given: argparse.Namespace, classifier: "AutoNFNet", split: str, resolution: int) -> Path:
    """runs/evaluate-TASK-MODEL-WEIGHTS-SPLIT-SIDEpx/results.json: others may have called theirs alike."""
    stem, weights = default_folder(given).name, classifier.checkpoint.fingerprint
    return Path("runs") / f"evaluate-{stem}-{str(weights)[:8]}-{split}-{resolution}px" / "results.json"
