"""The command: find the pieces, train, score, and fill the run folder.

accelerate launch nfft/finetune.py --task digits
nfft finetune --task digits
"""

import argparse
import errno
import os
import re
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelerate import Accelerator

    from nfft.fit import Fit
    from nfft.plan import Plan, Request

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
EXAMPLES = """examples:
  nfft finetune --task digits
  nfft finetune --task photos/ --model timm/dm_nfnet_f0.dm_in1k --output-dir runs/photos
  nfft finetune --task flowers102 --set dropout=0.25 --set label_smoothing=0
  nfft finetune --task digits --resume
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(
        prog="nfft finetune",
        description="Fine-tune a Normalizer-Free network on labelled images, as its authors did.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = made.add_argument_group("what")
    what.add_argument(
        "--task",
        required=True,
        help="a task's name, a task file, a folder of images, a CSV or Parquet file, or a dataset id on the Hub",
    )
    what.add_argument(
        "--model",
        default="nfnet-nano",
        help="a checkpoint's id on the Hub, its folder, or scratch:<timm architecture> (default: %(default)s)",
    )
    what.add_argument(
        "--model-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the timm architecture, with scratch: alone; may be repeated",
    )
    how = made.add_argument_group("how")
    how.add_argument("--recipe", default="auto", help="a recipe's name (default: %(default)s)")
    duration = how.add_mutually_exclusive_group()
    duration.add_argument("--steps", help="optimizer steps in all")
    duration.add_argument("--epochs", help="passes over the training images")
    how.add_argument("--batch-size", help="images an optimizer step sees, over all processes")
    how.add_argument("--lr", help="peak learning rate")
    how.add_argument("--seed", type=int, default=0, help="of order, augmentation and new weights (default: 0)")
    how.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any setting of the recipe, or of the task as task.FIELD; may be repeated",
    )
    how.add_argument(
        "--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto", help="(default: by device)"
    )
    where = made.add_argument_group("where")
    where.add_argument("--output-dir", type=Path, help="the run folder (default: runs/TASK-MODEL)")
    where.add_argument("--resume", action="store_true", help="take up the run in the folder where it was left")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 2 a mistake of the user's, 130 interrupted."""
    options = parser().parse_args(arguments)
    from nfft.errors import UserError

    # Pillow warns about odd but readable metadata of users' pictures.
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    try:
        return finetune(options)
    except (UserError, OSError) as error:
        text = str(error)
        if isinstance(error, OSError):
            if error.errno not in UNWRITABLE:
                raise
            text = f"{error.filename or 'the run folder'} cannot be written: {error.strerror}. Free some space, then --resume."
        if os.environ.get("NFFT_DEBUG") == "1":
            raise
        # Every process meets the same mistake; one sentence is enough.
        if os.environ.get("RANK", "0") == "0":
            print(f"nfft: {text}", file=sys.stderr)
        return 2


def finetune(options: argparse.Namespace) -> int:
    """Plan, train, score, write; docs/run-folder.md says what is left in the folder."""
    from nfft import plan, run
    from nfft.device import make_accelerator
    from nfft.fit import Fit
    from nfft.interrupt import Interrupt
    from nfft.report import Metrics, Progress

    folder = options.output_dir or default_folder(options)
    asked = request(options)
    if os.environ.get("RANK", "0") == "0":
        run.check(folder, resume=options.resume)
    accelerator = make_accelerator(options.precision)
    is_main = accelerator.is_main_process
    with accelerator.main_process_first():
        planned = plan.make(asked)
    fit = Fit(planned, accelerator, folder)
    facts = describe(planned, fit, accelerator)
    notes = []
    if options.resume:
        notes = run.check_same(folder, facts) + fit.restore()
    elif is_main:
        run.start(folder, facts, planned.skipped)
    metrics = progress = None
    if is_main:
        announce(facts, fit, notes)
        metrics = Metrics(folder / "metrics.jsonl", from_step=fit.training.step)
        progress = Progress(planned.total_steps, fit.training.step)
    with Interrupt() as interrupt:
        finished = fit.run(metrics, progress, interrupt.requested)
    if progress is not None:
        progress.close()
    if not finished:
        if is_main:
            print(f"stopped after step {fit.training.step}, saved. Go on with:\n  {resume_command()}", file=sys.stderr)
        return interrupt.exit_status
    conclude(fit, facts, metrics.lines if metrics is not None else [])
    return 0


def default_folder(options: argparse.Namespace) -> Path:
    """runs/TASK-MODEL, with nothing in it that could lead out of runs/."""
    stems = [Path(options.task).stem, options.model.rstrip("/").split("/")[-1].removeprefix("scratch:")]
    return Path("runs") / "-".join(re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-") or "run" for stem in stems)


def request(options: argparse.Namespace) -> "Request":
    """The options in the toolkit's own terms."""
    from nfft.plan import Request

    plain = {"total_steps": options.steps, "epochs": options.epochs, "batch_size": options.batch_size, "lr": options.lr}
    return Request(
        task=options.task,
        model=options.model,
        recipe=options.recipe,
        model_args={name: _number(text) for name, text in _pairs(options.model_arg, "--model-arg").items()},
        changes={**_pairs(options.set, "--set"), **{name: text for name, text in plain.items() if text is not None}},
        seed=options.seed,
    )


def _pairs(texts: list[str], option: str) -> dict[str, str]:
    from nfft.errors import UserError

    for text in texts:
        if "=" not in text:
            raise UserError(f"{option} takes NAME=VALUE; got {text!r}.")
    return {name.strip(): value for name, value in (text.split("=", 1) for text in texts)}


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def command() -> str:
    """What was typed to start this process, as far as it can be told."""
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    words = ["accelerate", "launch", "nfft/finetune.py"] if launched else ["nfft", "finetune"]
    arguments = sys.argv[1:] if launched or Path(sys.argv[0]).name == "finetune.py" else sys.argv[2:]
    return shlex.join([*words, *arguments])


def resume_command() -> str:
    return command() if "--resume" in sys.argv else f"{command()} --resume"


def describe(plan: "Plan", fit: "Fit", accelerator: "Accelerator") -> dict[str, Any]:
    """run.json: what was asked, what was settled, on what machine."""
    import datetime

    import torch

    from nfft import plan as plans
    from nfft import run
    from nfft.device import name_of

    network = fit.training.network
    return {
        "command": command(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **plans.describe(plan),
        "model": {
            "name": plan.checkpoint.name,
            "architecture": plan.checkpoint.architecture,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "licence": plan.checkpoint.preprocessing.get("license"),
        },
        "precision": name_of(accelerator),
        "processes": accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "versions": run.versions(),
        "hardware": run.hardware(str(accelerator.device)),
    }


def announce(facts: dict[str, Any], fit: "Fit", notes: list[str]) -> None:
    """Say what will run, before it does."""
    from nfft.model import is_normalized, saved_classes

    data, model, machine = facts["data"], facts["model"], facts["hardware"]
    counts = ", ".join(f"{data[name]:,} {name}" for name in ("train", "validation", "test") if data[name])
    print(f"task    {facts['task']['name']}: {counts} images, {len(data['classes'])} classes")
    saved = saved_classes(fit.plan.checkpoint)
    head = (
        f"; new classifier (its own tells {saved:,} classes apart)" if saved not in (None, len(data["classes"])) else ""
    )
    print(f"model   {model['name']}: {model['architecture']}, {model['parameters'] / 1e6:.2f} M parameters{head}")
    if is_normalized(fit.training.network):
        print("        it has batch normalisation: recipes are tuned for normalizer-free networks")
    settings = [f"{name}={_shown(value)}" for name, value in facts["recipe"]["settings"].items() if value is not None]
    print(_wrapped("recipe  ", [facts["recipe"]["name"] + ":", *settings]))
    processes = f", {facts['processes']} processes" if facts["processes"] > 1 else ""
    print(
        f"device  {machine['name']}, {facts['precision']}{processes}, {facts['threads']} threads, seed {facts['seed']}"
    )
    print(f"folder  {fit.folder}")
    if data["skipped"]:
        print(f"        {data['skipped']} images cannot be read and are left out: see skipped.jsonl")
    for line in notes:
        print(f"        {line}")
    if fit.training.step:
        print(f"        resumed after step {fit.training.step}")
    sys.stdout.flush()


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrapped(label: str, words: list[str]) -> str:
    import textwrap

    return textwrap.fill(" ".join(words), 100, initial_indent=label, subsequent_indent=" " * len(label))


def conclude(fit: "Fit", facts: dict[str, Any], lines: list[dict]) -> None:
    """Keep the better weights, score them, and write the folder's results."""
    from nfft import model, run, score

    plan = fit.plan
    classes, resolution = plan.data.classes, plan.recipe.test_resolution
    weights, validation = fit.keep_better()
    test = fit.predict(plan.data.test, "raw") if plan.data.test is not None else None
    if not fit.accelerator.is_main_process:
        return
    images = plan.total_steps * plan.recipe.batch_size
    seconds = sum(plan.recipe.batch_size / line["images_per_second"] for line in lines if line["kind"] == "train")
    scored = {
        "validation": score.scores(validation[weights], split="validation", classes=classes, resolution=resolution),
        "test": score.scores(test, split="test", classes=classes, resolution=resolution) if test is not None else None,
    }
    results = {
        "weights": weights,
        "candidates": {name: {"top1": each.top1, "loss": each.loss} for name, each in validation.items()},
        **scored,
        "training": {
            "steps": plan.total_steps,
            "images": images,
            "seconds": seconds,
            "images_per_second": images / seconds,
            "peak_memory_bytes": run.peak_memory(str(fit.accelerator.device)),
        },
    }
    model.save(
        fit.training.network,
        fit.folder,
        checkpoint=plan.checkpoint,
        classes=classes,
        resolution=resolution,
        margin=plan.recipe.test_margin,
    )
    write_outputs(fit.folder, facts, results, lines)
    farewell(fit.folder, results)


def write_outputs(folder: Path, facts: dict[str, Any], results: dict[str, Any], lines: list[dict]) -> None:
    """results.json, plots and the card draft."""
    from nfft import card, plot, run

    title = f"{facts['model']['name']} on {facts['task']['name']}"
    final = results["test"] or results["validation"]
    run.write_json(folder / "results.json", results)
    plot.plot_curves(lines, folder / "curves.png", title)
    plot.plot_confusion(final, folder / "confusion.png", f"{title}, {final['split']}")
    run.write_text(folder / "README.md", card.render_card(facts, results))


def farewell(folder: Path, results: dict[str, Any]) -> None:
    """Say how good the network is and where everything lies."""
    candidates = results["candidates"]
    if "ema" in candidates:
        compared = " against ".join(f"{name} {each['top1']:.2%}" for name, each in candidates.items())
        print(f"\nkept the {results['weights']} weights: validation top-1 {compared}")
    for name in ("validation", "test"):
        if (found := results[name]) is not None:
            top5 = f", top-5 {found['top5']:.2%}" if found["top5"] is not None else ""
            print(f"{name:10}  top-1 {found['top1']:.2%}{top5}, loss {found['loss']:.3f}, {found['count']:,} images")
    if results["test"] is None:
        print("            the task has no test split; validation chose the weights, so its score flatters a little")
    training = results["training"]
    print(f"training    {training['seconds']:.0f} s, {training['images_per_second']:,.0f} img/s")
    print(f"written to  {folder}/: model.safetensors, config.json, README.md, results.json, curves.png, confusion.png")


if __name__ == "__main__":
    sys.exit(main())
