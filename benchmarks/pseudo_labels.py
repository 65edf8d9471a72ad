"""What images without labels are worth: a few labeled ones a class, and the rest of the training split without labels.

    python benchmarks/pseudo_labels.py OUT --task flower_photos=path/to/flower_photos --shots 20 --steps 250

For each seed, a teacher is trained on the labeled images; then networks of as many steps each: from the labels alone
(which is the teacher, unless --teacher-steps is another number), from labels and teacher, and from these and the other
images, all of them or those that the teacher is sure of. The table has the mean test top-1 and the difference from
labels alone, paired by seed, with its 95 % interval. Runs are kept under OUT and not repeated.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from nfft.config import registry
from nfft.data.decode import RawImage
from nfft.data.sources.listing import HEAD, picture_kind
from nfft.data.splits import draw_shots, load_data
from nfft.intervals import interval

LABELS = "labels alone"
# Data sets have some of their test images in train, which would be refused among those without labels.
NO_LEAKS = ["--set", "task.leaks=drop"]
# The word in place of which the folder of images without labels is put.
OTHERS = ["--set", "task.unlabelled={}"]
ROWS = {
    LABELS: None,
    "self-distillation": [],
    "pseudo-labels": OTHERS,
    "pseudo-labels, of what it is 0.8 sure": [*OTHERS, "--set", "distill_confidence=0.8"],
    "pseudo-labels, and labels half the teacher's": [*OTHERS, "--set", "distill_weight=0.5"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", action="append", required=True, metavar="NAME=TASK")
    parser.add_argument("--shots", type=int, default=20, help="labeled images a class (default: %(default)s)")
    parser.add_argument("--most", type=int, default=2000, help="images without labels, at most (default: %(default)s)")
    parser.add_argument("--steps", default="250", help="of each network (default: %(default)s)")
    parser.add_argument("--teacher-steps", help="as many as the others by default")
    parser.add_argument("--seeds", type=int, default=3)
    options, settings = parser.parse_known_args()
    print("| Data | Learned from | Top-1 % | Against labels alone |\n|---|---|---:|---:|")
    for each in options.task:
        name, task = each.split("=", 1)
        folder = options.out / f"{name}-{options.shots}"
        scores: dict[str, list[float]] = {row: [] for row in ["teacher", *ROWS]}
        for seed in range(options.seeds):
            others = write_others(folder / f"others-{seed}", task, options.shots, seed, options.most)
            common = ["--task", task, *NO_LEAKS, "--shots", str(options.shots), "--seed", str(seed), *settings]
            teacher = folder / f"teacher-{seed}"
            teacher_steps = options.teacher_steps or options.steps
            scores["teacher"].append(top1(teacher, [*common, "--steps", teacher_steps]))
            for row, extra in ROWS.items():
                if extra is None and teacher_steps == options.steps:
                    scores[row].append(scores["teacher"][-1])
                    continue
                more = [] if extra is None else ["--teacher", str(teacher), *(word.format(others) for word in extra)]
                run = folder / f"{'-'.join(row.replace(',', '').split())}-{seed}"
                scores[row].append(top1(run, [*common, "--steps", options.steps, *more]))
        for row, found in scores.items():
            print(f"| {name}, {options.shots} a class | {row} | {statistics.mean(found):.1f} | "
                  f"{difference(found, scores[LABELS])} |", flush=True)  # fmt: skip


def difference(found: Sequence[float], labels: Sequence[float]) -> str:
    """Of two rows, seed by seed: the mean, and its interval where there is one."""
    differences = [mine - theirs for mine, theirs in zip(found, labels, strict=True)]
    low, high = interval(differences)
    mean = f"{statistics.mean(differences):+.1f}"
    return mean if low is None or high is None else f"{mean} ({low:+.1f} to {high:+.1f})"


def top1(out: Path, arguments: Sequence[str]) -> float:
    """Test top-1 in % of a run, which is made where it is not there yet."""
    if not (out / "results.json").is_file():
        resume = ["--resume"] if (out / "run.json").is_file() else []
        command = [sys.executable, "-m", "nfft.finetune", *arguments, "--output-dir", str(out), *resume]
        subprocess.run(command, check=True, capture_output=True)
    return 100 * json.loads((out / "results.json").read_text())["test"]["top1"]


def write_others(folder: Path, task: str, shots: int, seed: int, most: int) -> Path:
    """The training images that the seed does not draw, in a folder that says nothing of what they are."""
    if folder.is_dir():
        return folder
    data = load_data(replace(registry.task(task), leaks="drop"))
    drawn = set(draw_shots(data, shots, seed).train.rows.tolist())
    left = [index for index, row in enumerate(data.train.rows.tolist()) if row not in drawn]
    chosen = np.random.default_rng(seed).permutation(left)[:most]
    unfinished = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for number, index in enumerate(chosen.tolist()):
        write(data.train[index], unfinished / str(number))
    return unfinished.rename(folder)


def write(image: RawImage, path: Path) -> None:
    """An image in a file, byte by byte where it was one."""
    if isinstance(image, str):
        shutil.copyfile(image, path.with_suffix(Path(image).suffix))
    elif isinstance(image, bytes):
        path.with_suffix(picture_kind(image[:HEAD]) or ".jpg").write_bytes(image)
    else:
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path.with_suffix(".png"))


if __name__ == "__main__":
    main()
