"""`nfft evaluate`: score any checkpoint on any task, as it is preprocessed wherever it is loaded."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfft.cli.arguments import add_model, add_precision, add_task_settings, between, new_parser
from nfft.cli.errors import run_command
from nfft.config.overrides import read_task
from nfft.config.run_config import default_folder, split_pairs
from nfft.errors import UserError
from nfft.evaluation.evaluate import chosen_split, evaluate_split, places_in_model
from nfft.files import fingerprint_of, write_json
from nfft.runs.folder import RUN, is_held
from nfft.runs.records import AddedEvaluation

if TYPE_CHECKING:
    from nfft.auto import AutoNFNet


EVALUATED = {"model", "task", "scores", "resolution"}


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft evaluate`."""
    made = new_parser("evaluate")
    add_model(made)
    made.add_argument("--task", required=True, help="as for nfft finetune")
    made.add_argument(
        "--split", choices=["train", "validation", "test", "all"], help="(default: test, or else validation)"
    )
    made.add_argument("--resolution", type=between(8, 4096), help="px to test at (default: the checkpoint's)")
    add_task_settings(made)
    add_precision(made)
    made.add_argument("--output", type=Path, help="a JSON file (default: runs/evaluate-.../results.json)")
    made.add_argument("--add-to", type=Path, metavar="RUN", help="a run's folder, whose card is to show the scores")
    return made


def main(arguments: list[str] | None = None) -> int:
    return run_command(evaluate, parser().parse_args(arguments))


def evaluate(given: argparse.Namespace) -> int:
    """Score, print, write results.json, and add the scores to a run's card where one is named."""
    from nfft.auto import AutoNFNet
    from nfft.data.splits import load_data, load_whole_data, source_hash
    from nfft.distributed.accelerator import make_accelerator
    from nfft.models.build import check_side
    from nfft.reporting.publish import add_evaluation

    task = read_task(given.task, split_pairs(given.set, "--set"))
    accelerator = make_accelerator(given.precision)
    classifier = AutoNFNet.from_pretrained(given.model, revision=given.revision)
    resolution = given.resolution or classifier.checkpoint.test_side
    check_side(classifier.network, classifier.checkpoint.architecture, resolution, "--resolution ")
    classes, split = load_whole_data(task) if given.split == "all" else chosen_split(load_data(task), given.split)
    split = replace(split, labels=places_in_model(classifier, task, classes)[split.labels])
    output = given.output or default_output(given, source_hash(task), classifier, split.name, resolution)
    check_places(given.add_to, output, classifier)

    results = evaluate_split(classifier, task, split, resolution, accelerator) | {"revision": given.revision}
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, results)
    announce(results)
    print(f"written to  {output}")
    if given.add_to is not None:
        for line in add_evaluation(given.add_to, AddedEvaluation.from_json(results)):
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
    if is_held(add_to):
        raise UserError(f"--add-to {add_to}: another process is at work on that run. Wait for it, or stop it.")
    weights = add_to / classifier.checkpoint.weights
    if not weights.is_file() or fingerprint_of(weights) != classifier.checkpoint.fingerprint:
        raise UserError(f"--add-to {add_to}: the run there has other weights than --model. Name the model's own run.")


def announce(results: dict[str, Any]) -> None:
    """Say how good the model is."""
    scores = results["scores"]
    top5 = f", top-5 {scores['top5']:.2%}" if scores["top5"] is not None else ""
    print(f"{results['model']['name']} on {results['task']['name']} {scores['split']}, {scores['resolution']} px:")
    print(f"top-1 {scores['top1']:.2%}{top5}, loss {scores['loss']:.3f}, {scores['count']:,} images")
    if scores["left_out"]:
        print(f"{scores['left_out']} images could not be read and are left out")


def default_output(
    given: argparse.Namespace, source: str, classifier: "AutoNFNet", split: str, resolution: int
) -> Path:
    """runs/evaluate-TASK-MODEL-SOURCE-WEIGHTS-SPLIT-SIDEpx/results.json: others may have called theirs alike."""
    stem, weights = default_folder(given.task, given.model).name, str(classifier.checkpoint.fingerprint)[:8]
    return Path("runs") / f"evaluate-{stem}-{source}-{weights}-{split}-{resolution}px" / "results.json"
