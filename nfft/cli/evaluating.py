"""What `nfft evaluate` does once its arguments are read and the libraries are there."""

import argparse
import sys
from pathlib import Path

from nfft.auto import evaluation_of
from nfft.command_line import public_command
from nfft.config.overrides import read_task
from nfft.config.run_config import default_folder, split_pairs
from nfft.config.views import named_views, several
from nfft.cores import Moment
from nfft.data.splits import source_hash
from nfft.distributed.accelerator import make_accelerator
from nfft.errors import UserError
from nfft.evaluation.evaluate import EvaluationPlan, run_evaluation
from nfft.files import check_writable, make_folder, read_json, write_json
from nfft.machine import keep_freed_memory
from nfft.models.checkpoint import Checkpoint, open_checkpoint
from nfft.reporting.publish import add_evaluation
from nfft.runs.folder import RUN, has_ended, is_held
from nfft.runs.records import Evaluation

EVALUATED = {"model", "task", "scores", "resolution"}


def score(options: argparse.Namespace, began: Moment) -> int:
    """Score, print, write results.json, and add the scores to a run's card where one is named; the exit status."""
    keep_freed_memory()
    task = read_task(options.task, split_pairs(options.set, "--set"))
    accelerator = make_accelerator(options.precision)
    plan = evaluation_of(
        options.model,
        task,
        accelerator,
        split=options.split,
        resolution=options.resolution,
        views=options.views,
        revision=options.revision,
        since=began,
    )
    output = options.output or default_output(options, source_hash(task), plan)
    if accelerator.is_main_process:
        check_places(options.add_to, output, plan.classifier.checkpoint)
        for line in plan.lines:
            print(line, file=sys.stderr)
    evaluation = run_evaluation(plan, accelerator, public_command())
    if accelerator.is_main_process:
        announce(evaluation)
        make_folder(output.parent)
        write_json(output, evaluation.to_json())
        print(f"written to  {output}")
        if options.add_to is not None:
            for line in add_evaluation(options.add_to, evaluation.added()):
                print(line)
            print(f"added to    {options.add_to / 'README.md'}")
    accelerator.end_training()
    return 0


def check_places(add_to: Path | None, output: Path, checkpoint: Checkpoint) -> None:
    """See, before any work, that what will be written replaces nothing else, and that a card gets its own scores.

    Raises:
        UserError: naming the place and what is wrong with it.
    """
    check_writable(output, "--output")
    if output.is_file():
        try:
            is_ours = read_json(output).keys() >= EVALUATED
        except (ValueError, AttributeError, OSError):
            is_ours = False
        if not is_ours:
            raise UserError(f"--output {output} is there already, and is no evaluation. Choose another name.")
    if add_to is None:
        return
    if not (add_to / RUN).is_file():
        raise UserError(f"--add-to {add_to} is not the folder of a run.")
    if not has_ended(add_to):
        raise UserError(f"--add-to {add_to}: the run there has not ended. Go on with it first (--resume).")
    if is_held(add_to):
        raise UserError(f"--add-to {add_to}: another process is at work on that run. Wait for it, or stop it.")
    if open_checkpoint(str(add_to), add_to).fingerprint != checkpoint.fingerprint:
        raise UserError(f"--add-to {add_to}: the run there has other weights than --model. Name the model's own run.")


def announce(evaluation: Evaluation) -> None:
    """Say how good the model is."""
    scores = evaluation.scores
    views = named_views(scores.views)
    print(f"{evaluation.model.name} on {evaluation.task.name} {scores.split}, {scores.resolution} px{views}:")
    print(scores.in_words)
    if scores.left_out:
        print(f"{scores.left_out} images could not be read and are left out")


def default_output(options: argparse.Namespace, source: str, plan: EvaluationPlan) -> Path:
    """runs/evaluate-TASK-MODEL-SOURCE-WEIGHTS-SPLIT-SIDEpx-VIEWS/results.json: others may have called theirs alike.

    Of a single view, nothing is said of views.
    """
    stem, weights = default_folder(options.task, options.model).name, str(plan.classifier.checkpoint.fingerprint)[:8]
    name = f"evaluate-{stem}-{source}-{weights}-{plan.split.name}-{plan.resolution}px"
    views = several(plan.views.name)
    return Path("runs") / (f"{name}-{views}" if views else name) / "results.json"
