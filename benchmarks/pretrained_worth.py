"""What a checkpoint is worth: fine-tuned against random weights, equal budget, each at its own best learning rate.

    python benchmarks/pretrained_worth.py OUT --task flower_photos=path/to/flower_photos --epochs 20

Every rate runs with one seed; then the rate whose mean validation top-1 is best so far gets its next seed, until one
has all three. The table shows that one's test top-1. Runs are kept under OUT and not repeated, so the command can be
killed, split over cores by --task, and run again.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

MODELS = {"nfnet-nano": ["--model", "nfnet-nano"], "random": ["--model", "scratch:test_nfnet"]}
SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", action="append", required=True, metavar="NAME=TASK")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.1, 0.2, 0.4])
    parser.add_argument("--model-arg", action="append", default=["width_factor=1.5"], help="of the random network")
    given, settings = parser.parse_known_args()
    for each in given.task:
        name, task = each.split("=", 1)
        for model in MODELS:
            print(row(given.out / name, task, model, given.rates, given.model_arg, settings), flush=True)


def row(folder: Path, task: str, model: str, rates: list[float], model_args: list[str], settings: list[str]) -> str:
    """Find the best rate, and put its test scores in a line of a table."""

    def top1(rate: float, seed: int, split: str) -> float:
        out = folder / f"{model}-lr{rate:g}-seed{seed}"
        if not (out / "results.json").is_file():
            arguments = [*MODELS[model], "--task", task, "--lr", str(rate), "--seed", str(seed), *settings]
            if model == "random":
                arguments += [word for each in model_args for word in ("--model-arg", each)]
            resume = ["--resume"] if (out / "run.json").is_file() else []
            command = [sys.executable, "-m", "nfft.finetune", *arguments, "--output-dir", str(out), *resume]
            subprocess.run(command, check=True, capture_output=True)
        return json.loads((out / "results.json").read_text())[split]["top1"]

    done = {rate: [top1(rate, SEEDS[0], "validation")] for rate in rates}
    while len(done[best := max(rates, key=lambda rate: statistics.mean(done[rate]))]) < len(SEEDS):
        done[best].append(top1(best, SEEDS[len(done[best])], "validation"))
    found = [100 * top1(best, seed, "test") for seed in SEEDS]
    spread = f"{min(found):.1f} to {max(found):.1f}"
    return f"| {folder.name} | {model} | {best:g} | {statistics.mean(found):.1f} | {spread} |"


if __name__ == "__main__":
    main()
