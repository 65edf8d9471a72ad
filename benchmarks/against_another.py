"""The job of against_timm.py, cut short, by this nfft and by another that is installed elsewhere, in turn.

    python benchmarks/against_another.py path/to/cifar10 path/to/other/bin/python --rounds 3

Two steps, an evaluation of 1,000 images by raw and averaged weights, twice. Prints medians over rounds, and of the
ratios within each round, of the whole run, of evaluation with all that follows the last step, and of the first step:
once with the caches of an earlier run, and once without.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from same_job import BATCH, MODEL, SIDE, Timed, heading, images, into, row, timed

STEPS, EVALUATIONS = 4, 2


def by(python: Path, data: Path, work: Path, *, fresh: bool) -> Timed:
    """A run in a process of its own; `fresh` is without the caches of an earlier one."""
    caches, folder = work / f"caches-{python.parents[1].name}", work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    if fresh:
        shutil.rmtree(caches, ignore_errors=True)
    log = work / "log"
    log.unlink(missing_ok=True)
    command = [
        str(python.parent / "nfft"), "finetune", "--task", str(data), "--model", f"scratch:{MODEL}",
        "--precision", "fp32", "--output-dir", str(folder), "--steps", str(STEPS), "--batch-size", str(BATCH),
        "--lr", "0.1", "--set", "warmup_fraction=0", "--set", f"train_resolution={SIDE}",
        "--set", f"test_resolution={SIDE}", "--set", "test_margin=0", "--set", f"evaluations={EVALUATIONS}",
        "--set", "crop_area=0.08", "--set", "ema_decay=0.999",
    ]  # fmt: skip
    epoch = STEPS // EVALUATIONS
    environment = {**os.environ, "XDG_CACHE_HOME": str(caches / "cache"), "HF_HOME": str(caches / "huggingface")}

    def steps_in(text: str) -> list[bool]:
        return [number % epoch == 0 for number in range(text.count('"kind": "train"'))]

    return timed(into(log, command), steps_in, folder / "metrics.jsonl", environment=environment, watches_memory=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of Parquet files with CIFAR-10")
    parser.add_argument("other", type=Path, help="Python of the environment that the other nfft is installed in")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    mine, other = Path(sys.executable), options.other.absolute()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        images(options.data, work / "data")
        print(heading("the other", options.rounds))
        for fresh in (True, False):
            pairs = []
            for _ in range(options.rounds):
                pairs.append([by(python, work / "data", work, fresh=fresh) for python in (mine, other)])
            label = "new data" if fresh else "again"
            for name, attribute in (("whole run", "wall"), ("evaluation", "evaluation"), ("first step", "first_step")):
                ours, theirs = ([getattr(pair[side], attribute) for pair in pairs] for side in (0, 1))
                print(row(f"{label}: {name}", ours, theirs, "s"), flush=True)


if __name__ == "__main__":
    main()
