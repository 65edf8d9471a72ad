"""A run from its settings to a filled run folder."""

import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfft.command_line import public_command, resume_command
from nfft.config.run_config import RunConfig
from nfft.files import write_json
from nfft.runs.folder import RESULTS
from nfft.training.console import announce, farewell

if TYPE_CHECKING:
    from accelerate import Accelerator

    from nfft.training.base import Job
    from nfft.training.plan import Plan


def finetune(config: RunConfig) -> int:
    """Plan, train, score, write; docs/run-folder.md says what is left in the folder."""
    from nfft.distributed.accelerator import check_alike, lone_process, make_accelerator
    from nfft.reporting.publish import check_base, push_run
    from nfft.runs.folder import check_folder, hold_run, resume_run, saved_setting, start_run
    from nfft.training.interrupt import Interrupt
    from nfft.training.plan import make_plan
    from nfft.training.probe.trainer import Probe
    from nfft.training.tracking import Report
    from nfft.training.trainer import Fit

    folder = config.folder
    if os.environ.get("RANK", "0") == "0":
        check_folder(folder, resume=config.resume)
    notes = push_notes(config.push_to)
    accelerator = make_accelerator(config.precision)
    is_main = accelerator.is_main_process
    # One process of each machine looks at the data; the others find what it has found out.
    with accelerator.local_main_process_first():
        planned = make_plan(config, keeps=accelerator.is_local_main_process)
    if config.push_to is not None and planned.method.is_adapter:
        from nfft.models.adapter import base_of

        check_base(base_of(planned.checkpoint)[0], str(folder))
    if config.resume and planned.recipe.accumulation_steps is None:
        # Another machine may have other memory; the run goes on as it was cut.
        parts = saved_setting(folder, "accumulation_steps")
        planned = replace(planned, recipe=replace(planned.recipe, accumulation_steps=parts))
    check_alike(
        {
            "images": [planned.fingerprint, *map(len, planned.data.splits)],
            "weights": planned.checkpoint.fingerprint,
            "settings of the run": [planned.total_steps, planned.recipe.accumulation_steps],
        }
    )
    job = (Probe if planned.method.fits_features else Fit)(planned, accelerator, folder)
    facts = describe_run(job.plan, job, accelerator)
    notes += lone_process() + planned.notes
    with hold_run(folder) if is_main else nullcontext():
        # The others touch nothing of a folder before the main process has it.
        accelerator.wait_for_everyone()
        if config.resume:
            facts, differences = resume_run(folder, facts)
            notes += differences + job.restore()
        elif is_main:
            start_run(folder, facts, planned.skipped)
        check_alike({"checkpoints": job.step})
        if is_main:
            announce(facts, job, notes)
        with Interrupt() as interrupt, Report(folder, planned.total_steps, job.step, speaks=is_main) as report:
            finished = job.run(report, interrupt.requested)
        if not finished:
            if is_main:
                print(f"stopped after {job.reached or 'no step'}, saved. Go on with:", file=sys.stderr)
                print(f"  {resume_command()}", file=sys.stderr)
            return interrupt.exit_status
        conclude(job, facts, report.lines)
        accelerator.end_training()
    if config.push_to is not None and is_main:
        print("\n".join(push_run(folder, config.push_to, private=config.private, revision=None, create_pr=False)))
    return 0


def push_notes(repository: str | None) -> list[str]:
    """See that a push at the end can work, before hours of training; a line when it cannot yet."""
    from nfft.hub.upload import check_repository, has_token

    if repository is None:
        return []
    check_repository(repository)
    return [] if has_token() else ["nobody is logged in to the Hub here: run `hf auth login` before the run ends"]


def describe_run(plan: "Plan", job: "Job", accelerator: "Accelerator") -> dict[str, Any]:
    """run.json: what was asked, what was settled, on what machine."""
    import datetime

    import torch

    from nfft.distributed.accelerator import precision_of
    from nfft.machine import hardware, versions
    from nfft.training.plan import describe_plan

    network = job.network
    return {
        "command": public_command(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **describe_plan(plan),
        "model": {
            "name": plan.checkpoint.title,
            "architecture": plan.checkpoint.architecture,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "trained": sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad),
            "arguments": dict(plan.config.model_args),
            "fingerprint": plan.checkpoint.fingerprint,
            "licence": plan.checkpoint.preprocessing.get("license"),
        },
        "precision": precision_of(accelerator),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "hardware": hardware(str(accelerator.device)),
    }


def conclude(job: "Job", facts: dict[str, Any], lines: list[dict]) -> None:
    """Keep the better weights, score them, and write the folder's results."""
    from nfft.evaluation.metrics import scores_of
    from nfft.machine import peak_memory

    plan, outcome = job.plan, job.finish(lines)
    if not job.accelerator.is_main_process:
        return
    classes, resolution = plan.data.classes, plan.recipe.test_resolution
    kept, test, training = outcome.validation[outcome.weights], outcome.test, outcome.training
    results = {
        "weights": outcome.weights,
        "candidates": {name: {"top1": each.top1, "loss": each.loss} for name, each in outcome.validation.items()},
        "validation": scores_of(kept, split="validation", classes=classes, resolution=resolution).to_json(),
        "test": scores_of(test, split="test", classes=classes, resolution=resolution).to_json()
        if test is not None
        else None,
        "training": {
            **training,
            "wall_seconds": job.seconds,
            "images_per_second": training["images"] / training["seconds"],
            "peak_memory_bytes": peak_memory(str(job.accelerator.device)),
        },
    }
    save_result(job)
    write_outputs(job.folder, facts, results, lines)
    farewell(job.folder, results)


def save_result(job: "Job") -> None:
    """The network as others load it: whole, or as changes of its plan.checkpoint."""
    from nfft.models.saving import save_network
    from nfft.models.transforms import squash_preprocessing

    plan, network = job.plan, job.network
    preprocessing = squash_preprocessing(plan.checkpoint, plan.recipe.test_resolution, plan.recipe.test_margin)
    what: dict[str, Any] = {
        "checkpoint": plan.checkpoint, "classes": plan.data.classes, "preprocessing": preprocessing
    }  # fmt: skip
    if job.adapter is None:
        save_network(network, job.folder, **what)
    else:
        from nfft.models.adapter import save_adapter

        save_adapter(network, job.folder, config=job.adapter, **what)


def write_outputs(folder: Path, facts: dict[str, Any], results: dict[str, Any], lines: list[dict]) -> None:
    """results.json, plots and the card."""
    from nfft.reporting.plots import plot_confusion, plot_curves, plot_penalties
    from nfft.reporting.publish import write_card

    title = f"{facts['model']['name']} on {facts['task']['name']}"
    final = results["test"] or results["validation"]
    write_json(folder / RESULTS, results)
    draw = plot_penalties if facts["method"]["fits_features"] else plot_curves
    draw(lines, folder / "curves.png", title)
    plot_confusion(final, folder / "confusion.png", f"{title}, {final['split']}")
    write_card(folder)
