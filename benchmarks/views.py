"""What several views of each picture give at scoring, and what they cost: one, its mirror, five crops, both.

    python benchmarks/views.py runs/flowers-0 runs/flowers-1 runs/flowers-2 --task path/to/flower_photos

Scores each run with each choice of views on the same images, in float32, and prints top-1 and loss as means over runs,
the difference of top-1 to a single view in points, with its 95 % interval, and seconds by the side of a single view's.
Of several runs, differences are paired by run; of one, by image, whose interval says nothing of other seeds.
"""

import argparse
import datetime
import statistics
from importlib import metadata
from pathlib import Path

import torch
from accelerate import Accelerator

from nfft.auto import AutoNFNet
from nfft.config.overrides import read_task
from nfft.config.run_config import split_pairs
from nfft.config.task import Task
from nfft.config.views import VIEWS
from nfft.distributed.accelerator import make_accelerator
from nfft.evaluation.evaluate import BATCH, plan_evaluation
from nfft.evaluation.metrics import Predictions
from nfft.evaluation.predictor import Predictor
from nfft.intervals import Difference, paired
from nfft.models.transforms import pixels_of, stored_preprocessing
from nfft.runs.folder import read_run
from nfft.text import in_markdown


def scored(classifier: AutoNFNet, task: Task, split: str | None, views: str, accelerator: Accelerator) -> Predictions:
    """What a run's network says of each image, and the seconds that took, reading included."""
    plan = plan_evaluation(classifier, task, split=split, views=views)
    preprocessing = stored_preprocessing(classifier.checkpoint)
    predictor = Predictor(
        accelerator, pixels_of(plan.views.preprocessing(preprocessing)), preprocessing["mean"], preprocessing["std"],
        workers=0, batch_size=BATCH, averages=plan.views,
    )  # fmt: skip
    return predictor.predict({"": predictor.folded(classifier.network)}, plan.split)[""]


def difference(single: list[Predictions], several: list[Predictions]) -> Difference:
    """How much larger top-1 is of several views, in points: by run, or by image of a run alone."""
    if len(single) > 1:
        return paired(*([100 * each.top1 for each in runs] for runs in (single, several)))
    right = [(100.0 * (runs[0].top[:, 0] == runs[0].labels)).tolist() for runs in (single, several)]
    return paired(*right)


def row(views: str, of: dict[str, list[Predictions]]) -> list[str]:
    runs, single = of[views], of["single"]
    found = difference(single, runs)
    ends = "" if found.low is None or found.high is None else f" ({found.low:+.2f} to {found.high:+.2f})"
    ratios = [each.seconds / alone.seconds for each, alone in zip(runs, single, strict=True)]
    return [
        views,
        f"{100 * statistics.fmean(each.top1 for each in runs):.2f}",
        "" if views == "single" else f"{found.mean:+.2f}{ends}",
        f"{statistics.fmean(each.loss for each in runs):.3f}",
        f"{statistics.fmean(each.seconds for each in runs):.1f}",
        f"{statistics.fmean(ratios):.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs that have ended")
    parser.add_argument("--task", help="as for nfft evaluate (default: the name of each run's own)")
    parser.add_argument("--set", action="append", default=[], metavar="task.FIELD=VALUE", help="a setting of the task")
    parser.add_argument("--split", help="(default: test, or else validation)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args()
    accelerator = make_accelerator("fp32")
    torch.set_num_threads(options.threads)
    of: dict[str, list[Predictions]] = {views: [] for views in VIEWS}
    for folder in options.runs:
        classifier = AutoNFNet.from_pretrained(folder)
        task = read_task(options.task or read_run(folder).task.name, split_pairs(options.set, "--set"))
        # Once before time counts: files are read and memory is taken.
        scored(classifier, task, options.split, "single", accelerator)
        for views, found in of.items():
            found.append(scored(classifier, task, options.split, views, accelerator))
            print(f"{folder}, {views}: top-1 {found[-1].top1:.2%}, {found[-1].seconds:.1f} s")
    images = sorted({len(each.labels) for each in of["single"]})
    head = ["views", "top-1 %", "over single, points", "loss", "seconds", "times single"]
    print(f"\n{datetime.date.today()}; {options.threads} threads, float32; torch {metadata.version('torch')}; "
          f"{len(options.runs)} runs, {' or '.join(map(str, images))} images\n")  # fmt: skip
    print(in_markdown([head, *(row(views, of) for views in VIEWS)]))


if __name__ == "__main__":
    main()
