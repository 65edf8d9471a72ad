"""The command: find the pieces, train, score, and fill the run folder.

accelerate launch nfft/finetune.py --task digits
nfft finetune --task digits
"""

import argparse
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfft import command, invocation, options
from nfft.files import write_json
from nfft.request import Request, default_folder
from nfft.run import NETWORK, RESULTS

if TYPE_CHECKING:
    from accelerate import Accelerator

    from nfft.job import Job
    from nfft.plan import Plan


PURPOSE = "Fine-tune a Normalizer-Free network on labelled images, as its authors did."
EPILOG = """examples:
  nfft finetune --task digits
  nfft finetune --task photos/ --model timm/dm_nfnet_f0.dm_in1k --output-dir runs/photos
  nfft finetune --task flowers102 --set dropout=0.25 --set label_smoothing=0
an interrupted run goes on with the same command and --resume
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft finetune`."""
    made = options.described("finetune", PURPOSE, EPILOG)
    how = options.add_run(made)
    options.add_method(how)
    options.add_precision(how)
    where = made.add_argument_group("where")
    where.add_argument("--output-dir", type=Path, help="the run folder (default: runs/TASK-MODEL)")
    where.add_argument("--resume", action="store_true", help="take up the run in the folder where it was left")
    share = made.add_argument_group("share")
    share.add_argument("--push-to", metavar="USER/NAME", help="a repository of the Hub that the run is put into")
    options.add_private(share)
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 2 a mistake of the user's, 130 interrupted."""
    return command.run(finetune, parser().parse_args(arguments))


def finetune(given: argparse.Namespace) -> int:
    """Plan, train, score, write; docs/run-folder.md says what is left in the folder."""
    from nfft import plan, publish, run
    from nfft.device import check_alike, lone_process, make_accelerator
    from nfft.fit import Fit
    from nfft.interrupt import Interrupt
    from nfft.probe import Probe
    from nfft.report import Report

    folder = given.output_dir or default_folder(given)
    asked = Request.of(given)
    if os.environ.get("RANK", "0") == "0":
        run.check(folder, resume=given.resume)
    notes = push_notes(given.push_to)
    accelerator = make_accelerator(given.precision)
    is_main = accelerator.is_main_process
    # One process of each machine looks at the data; the others find what it has found out.
    with accelerator.local_main_process_first():
        planned = plan.make(asked, keeps=accelerator.is_local_main_process)
    if given.push_to is not None and planned.method.is_adapter:
        from nfft.adapter import base_of

        publish.check_base(base_of(planned.checkpoint)[0], str(folder))
    if given.resume and planned.recipe.accumulation_steps is None:
        # Another machine may have other memory; the run goes on as it was cut.
        parts = run.saved_setting(folder, "accumulation_steps")
        planned = replace(planned, recipe=replace(planned.recipe, accumulation_steps=parts))
    check_alike(
        {
            "images": [planned.fingerprint, *map(len, planned.data.splits)],
            "weights": planned.checkpoint.fingerprint,
            "settings of the run": [planned.total_steps, planned.recipe.accumulation_steps],
        }
    )
    job = (Probe if planned.method.fits_features else Fit)(planned, accelerator, folder)
    facts = describe(job.plan, job, accelerator)
    notes += lone_process() + planned.notes
    with run.hold(folder) if is_main else nullcontext():
        # The others touch nothing of a folder before the main process has it.
        accelerator.wait_for_everyone()
        if given.resume:
            facts, differences = run.resume(folder, facts)
            notes += differences + job.restore()
        elif is_main:
            run.start(folder, facts, planned.skipped)
        check_alike({"checkpoints": job.step})
        if is_main:
            announce(facts, job, notes)
        with Interrupt() as interrupt, Report(folder, planned.total_steps, job.step, speaks=is_main) as report:
            finished = job.run(report, interrupt.requested)
        if not finished:
            if is_main:
                print(f"stopped after {job.reached or 'no step'}, saved. Go on with:", file=sys.stderr)
                print(f"  {invocation.resume_command()}", file=sys.stderr)
            return interrupt.exit_status
        conclude(job, facts, report.lines)
        accelerator.end_training()
    if given.push_to is not None and is_main:
        print("\n".join(publish.push_run(folder, given.push_to, private=given.private, revision=None, create_pr=False)))
    return 0


def push_notes(repository: str | None) -> list[str]:
    """See that a push at the end can work, before hours of training; a line when it cannot yet."""
    from nfft import hub

    if repository is None:
        return []
    hub.check_target(repository)
    return [] if hub.has_token() else ["nobody is logged in to the Hub here: run `hf auth login` before the run ends"]


def describe(plan: "Plan", job: "Job", accelerator: "Accelerator") -> dict[str, Any]:
    """run.json: what was asked, what was settled, on what machine."""
    import datetime

    import torch

    from nfft import plan as plans
    from nfft import run
    from nfft.device import name_of

    network = job.network
    return {
        "command": invocation.public_command(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **plans.describe(plan),
        "model": {
            "name": plan.checkpoint.title,
            "architecture": plan.checkpoint.architecture,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "trained": sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad),
            "arguments": dict(plan.request.model_args),
            "fingerprint": plan.checkpoint.fingerprint,
            "licence": plan.checkpoint.preprocessing.get("license"),
        },
        "precision": name_of(accelerator),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "versions": run.versions(),
        "hardware": run.hardware(str(accelerator.device)),
    }


def announce(facts: dict[str, Any], job: "Job", notes: list[str]) -> None:
    """Say what will run, before it does."""
    from nfft.layout import saved_classes
    from nfft.model import is_normalized, keeps_classifier
    from nfft.recipe import matters

    data, model, machine = facts["data"], facts["model"], facts["hardware"]
    counts = ", ".join(f"{data[name]:,} {name}" for name in ("train", "validation", "test") if data[name])
    print(f"task    {facts['task']['name']}: {counts} images, {len(data['classes'])} classes")
    source, head = job.plan.checkpoint, ""
    if source.folder is not None and not keeps_classifier(source, data["classes"]):
        head = f"; new classifier in place of that for {saved_classes(source):,} classes"
    print(f"model   {model['name']}: {model['architecture']}, {model['parameters'] / 1e6:.2f} M parameters{head}")
    method, trained = facts["method"], model["trained"] / model["parameters"]
    if method["name"] != "full":
        settings = " ".join(
            f"{name}={_shown(value)}" for name, value in method["settings"].items() if value is not None
        )
        print(f"method  {method['name']}: trains {model['trained']:,} parameters ({trained:.1%}) {settings}".rstrip())
    if is_normalized(job.network):
        print("        it has batch normalisation: recipes are tuned for normalizer-free networks")
    settings = facts["recipe"]["settings"]
    shown = [f"{name}={_shown(settings[name])}" for name in settings if matters(settings, name)]
    print(_wrapped("recipe  ", [facts["recipe"]["name"] + ":", *shown]))
    processes = f", {facts['processes']} processes" if facts["processes"] > 1 else ""
    print(
        f"device  {machine['name']}, {facts['precision']}{processes}, {facts['threads']} threads, seed {facts['seed']}"
    )
    print(f"folder  {job.folder}")
    if data["skipped"]:
        print(f"        {data['skipped']} images cannot be read and are left out: see skipped.jsonl")
    for line in notes:
        print(f"        {line}")
    if job.reached:
        print(f"        resumed after {job.reached}")
    sys.stdout.flush()


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrapped(label: str, words: list[str]) -> str:
    import textwrap

    return textwrap.fill(" ".join(words), 100, initial_indent=label, subsequent_indent=" " * len(label))


def conclude(job: "Job", facts: dict[str, Any], lines: list[dict]) -> None:
    """Keep the better weights, score them, and write the folder's results."""
    from nfft import run, score

    plan, outcome = job.plan, job.finish(lines)
    if not job.accelerator.is_main_process:
        return
    classes, resolution = plan.data.classes, plan.recipe.test_resolution
    kept, test, training = outcome.validation[outcome.weights], outcome.test, outcome.training
    results = {
        "weights": outcome.weights,
        "candidates": {name: {"top1": each.top1, "loss": each.loss} for name, each in outcome.validation.items()},
        "validation": score.scores(kept, split="validation", classes=classes, resolution=resolution),
        "test": score.scores(test, split="test", classes=classes, resolution=resolution) if test is not None else None,
        "training": {
            **training,
            "wall_seconds": job.seconds,
            "images_per_second": training["images"] / training["seconds"],
            "peak_memory_bytes": run.peak_memory(str(job.accelerator.device)),
        },
    }
    save_network(job)
    write_outputs(job.folder, facts, results, lines)
    farewell(job.folder, results)


def save_network(job: "Job") -> None:
    """The network as others load it: whole, or as changes of its checkpoint."""
    from nfft import layout

    plan, network = job.plan, job.network
    preprocessing = layout.squashed(plan.checkpoint, plan.recipe.test_resolution, plan.recipe.test_margin)
    what: dict[str, Any] = {
        "checkpoint": plan.checkpoint, "classes": plan.data.classes, "preprocessing": preprocessing
    }  # fmt: skip
    if job.adapter is None:
        layout.save(network, job.folder, **what)
    else:
        from nfft import adapter

        adapter.save(network, job.folder, config=job.adapter, **what)


def write_outputs(folder: Path, facts: dict[str, Any], results: dict[str, Any], lines: list[dict]) -> None:
    """results.json, plots and the card."""
    from nfft import plot, plot_methods, publish

    title = f"{facts['model']['name']} on {facts['task']['name']}"
    final = results["test"] or results["validation"]
    write_json(folder / RESULTS, results)
    draw = plot_methods.plot_penalties if facts["method"]["fits_features"] else plot.plot_curves
    draw(lines, folder / "curves.png", title)
    plot.plot_confusion(final, folder / "confusion.png", f"{title}, {final['split']}")
    publish.write_card(folder)


def farewell(folder: Path, results: dict[str, Any]) -> None:
    """Say how good the network is and where everything lies."""
    candidates = results["candidates"]
    if "ema" in candidates:
        compared = " against ".join(f"{name} {each['top1']:.2%}" for name, each in candidates.items())
        print(f"\nkept the {results['weights']} weights: validation top-1 {compared}")
    if "l2" in results["training"]:
        print(f"\nkept the classifier for l2 {results['training']['l2']:g}, of the lowest loss on validation")
    for name in ("validation", "test"):
        if (found := results[name]) is not None:
            top5 = f", top-5 {found['top5']:.2%}" if found["top5"] is not None else ""
            print(f"{name:10}  top-1 {found['top1']:.2%}{top5}, loss {found['loss']:.3f}, {found['count']:,} images")
    if results["test"] is None:
        print("            the task has no test split; validation chose the weights, so its score flatters a little")
    training = results["training"]
    print(f"training    {training['seconds']:.0f} s, {training['images_per_second']:,.0f} img/s")
    network = ", ".join(name for name in NETWORK if (folder / name).is_file())
    print(f"written to  {folder}/: {network}, README.md, results.json, curves.png, confusion.png")


if __name__ == "__main__":
    sys.exit(main())
