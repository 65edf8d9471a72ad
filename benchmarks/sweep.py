"""Runs of every combination of settings, tasks and seeds, and a table of their mean test top-1.

    python benchmarks/sweep.py OUT --task digits --task flowers=path/to/flower_photos \\
        --variant "" --variant "lr=0.2" --variant "lr=0.2 mixup=0.2"

Other arguments go to `nfft finetune`. A run that is complete under OUT is not repeated.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", action="append", required=True, metavar="[NAME=]TASK")
    parser.add_argument("--variant", action="append", required=True, help="settings, with spaces between")
    parser.add_argument("--seeds", type=int, default=3)
    given, rest = parser.parse_known_args()
    tasks = dict(each.split("=", 1) if "=" in each else (each, each) for each in given.task)
    print("| variant | " + " | ".join(tasks) + " |\n|---|" + "---:|" * len(tasks), flush=True)
    for variant in given.variant:
        cells = []
        for name, task in tasks.items():
            runs = [run(given.out / name, task, variant.split(), seed, rest) for seed in range(given.seeds)]
            mean = statistics.mean(100 * each["test"]["top1"] for each in runs)
            seconds = statistics.mean(each["training"]["seconds"] for each in runs)
            cells.append(f"{mean:.1f} ({seconds:.0f} s)")
        print(f"| {variant or 'as it is'} | " + " | ".join(cells) + " |", flush=True)


def run(folder: Path, task: str, settings: list[str], seed: int, rest: list[str]) -> dict:
    """The results of one run, made now unless they are there."""
    name = re.sub(r"[^\w.=-]", "_", " ".join(settings)) or "default"
    out = folder / f"{name}-seed{seed}"
    if not (out / "results.json").is_file():
        # "cifar10?train_images=1000" is the task with a setting of its own.
        source, _, own = task.partition("?")
        chosen = [*(f"task.{each}" for each in own.split("&") if each), *settings]
        arguments = ["--task", source, "--seed", str(seed), *(word for each in chosen for word in ("--set", each))]
        resume = ["--resume"] if (out / "run.json").is_file() else []
        command = [sys.executable, "-m", "nfft.finetune", *arguments, *rest, "--output-dir", str(out), *resume]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((out / "results.json").read_text())


if __name__ == "__main__":
    main()
