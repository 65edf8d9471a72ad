"""What a run says at its start and end."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfft.runs.folder import NETWORK

if TYPE_CHECKING:
    from nfft.training.base import Job


def announce(facts: dict[str, Any], job: "Job", notes: list[str]) -> None:
    """Say what will run, before it does."""
    from nfft.config.recipe import matters
    from nfft.models.build import is_normalized, keeps_classifier
    from nfft.models.checkpoint import saved_classes

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
