"""Top-1 against seconds: nfft's default recipe, another build of nfft, timm's train.py and transformers' example.

    python benchmarks/to_accuracy.py OUT --task flowers=path/to/flower_photos --task digits --seeds 3 \\
        --timm path/to/train.py --another path/to/other/bin/nfft --transformers path/to/run_image_classification.py

Every tool starts from the same checkpoint (`--model`: a name or folder), sees the same training pictures (class folders
that are written once) and is timed as a process, from its start to its end. "flowers?shots=20" draws 20 a class.

- nfft runs `auto`, and shares of its epochs (`--budgets`): each a whole run with scores, plots and card.
- train.py sees as many pictures as the other build's `auto` (this one's without it), with AGC (SGD, the paper's lambda)
  and with AdamW, its own augmentation, two loader processes. It scores the test pictures after each epoch, and its best
  epoch counts: more than its users would get. Its seconds are those of the whole run.
- transformers' example runs with its Trainer's AdamW and the rate that its documents show.

What is done under OUT is not run again. Prints tables, and draws OUT/to_accuracy.png.
"""

import argparse
import json
import math
import os
import re
import shutil
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from against_transformers import ACCURACY
from matplotlib.figure import Figure
from same_job import into, timed

from nfft.config.overrides import read_task
from nfft.data.decode import decode
from nfft.data.splits import draw_shots, load_data
from nfft.intervals import paired
from nfft.models.resolve import find_checkpoint
from nfft.reporting.plots.figure import save_figure, strip

RATES = {"AGC": ("sgd", "0.1", "1e-5"), "AdamW": ("adamw", "1e-3", "0.05")}


@dataclass(frozen=True)
class Point:
    """What a tool has reached: of one run, whole or up to an epoch.

    Attributes:
        tool: with its recipe.
        share: of the recipe's own epochs.
        top1: on test.
        seconds: of the process.
    """

    task: str
    tool: str
    seed: int
    share: float
    top1: float
    seconds: float


class Bench:
    """Runs under one folder, each made but once."""

    def __init__(self, out: Path, model: str, threads: str | None) -> None:
        self.out, self.model, self.threads = out, model, threads
        self.path = out / "points.jsonl"
        lines = self.path.read_text().splitlines() if self.path.is_file() else []
        self.points = [Point(**json.loads(line)) for line in lines]

    def there(self, task: str, tool: str, seed: int, share: float) -> bool:
        return any((each.task, each.tool, each.seed, each.share) == (task, tool, seed, share) for each in self.points)

    def keep(self, point: Point) -> None:
        self.points.append(point)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(point)) + "\n")
        print(
            f"{point.task}, {point.tool}, seed {point.seed}, {point.share:g}: {point.top1:.2%} in {point.seconds:.0f} s"
        )

    @property
    def environment(self) -> dict[str, str]:
        threads = {} if self.threads is None else {"OMP_NUM_THREADS": self.threads}
        return {**os.environ, **threads, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}

    # ---- the tools

    def by_nfft(self, task: str, data: Path, seed: int, tool: str, command: str, share: float = 1.0) -> None:
        if self.there(task, tool, seed, share):
            return
        folder, log = self.out / "nfft", self.out / "nfft.log"
        shutil.rmtree(folder, ignore_errors=True)
        call = [command, "finetune", "--task", str(data), "--model", self.model, "--seed", str(seed)]
        if share != 1:
            call += ["--epochs", f"{max(0.01, share * self.epochs(task, tool)):.3f}"]
        found = timed(
            into(log, [*call, "--output-dir", str(folder)]), lambda _: [], log,
            environment=self.environment, watches_memory=False,
        )  # fmt: skip
        results, run = (json.loads((folder / name).read_text()) for name in ("results.json", "run.json"))
        if share == 1:
            (self.out / f"epochs-{_plain(task)}-{_plain(tool)}").write_text(str(run["recipe"]["settings"]["epochs"]))
        self.keep(Point(task, tool, seed, share, results["test"]["top1"], found.wall))

    def epochs(self, task: str, tool: str) -> float:
        """That `auto` takes, as its run has said."""
        return float((self.out / f"epochs-{_plain(task)}-{_plain(tool)}").read_text())

    def by_timm(self, task: str, data: Path, seed: int, recipe: str, script: Path, epochs: int) -> None:
        tool, (optimizer, rate, decay) = f"timm, {recipe}", RATES[recipe]
        if self.there(task, tool, seed, 1):
            return
        checkpoint, folder = find_checkpoint(self.model, {}).plain, self.out / "timm"
        shutil.rmtree(folder, ignore_errors=True)
        summary = folder / "run" / "summary.csv"
        images = len(list((data / "train").rglob("*.png")))
        # What `auto` took of so many when it saw as many of them.
        batch = 2 ** int(math.log2(min(128, max(16, images / 16))))
        call = [
            sys.executable, str(script), "--data-dir", str(data), "--train-split", "train", "--val-split", "test",
            "--model", f"local-dir:{checkpoint.folder}", "--pretrained", "--num-classes", str(len(_classes(data))),
            "--img-size", str(checkpoint.test_side), "-b", str(batch), "--epochs", str(epochs),
            "--warmup-epochs", str(max(1, epochs // 10)), "--sched", "cosine", "--opt", optimizer, "--lr", rate,
            "--weight-decay", decay, "--smoothing", "0.1", "--model-ema", "--model-ema-warmup", "--workers", "2",
            "--device", "cpu", "--log-interval", "1000", "--seed", str(seed), "--output", str(folder),
            "--experiment", "run", "--checkpoint-hist", "1",
        ]  # fmt: skip
        if recipe == "AGC":
            call += ["--momentum", "0.9", "--clip-grad", "0.08", "--clip-mode", "agc"]
        found = timed(
            into(self.out / "timm.log", call), lambda text: [False] * max(0, text.count("\n") - 1), summary,
            environment=self.environment, watches_memory=False,
        )  # fmt: skip
        head, *lines = summary.read_text().splitlines()
        scores = [float(line.split(",")[head.split(",").index("eval_top1")]) / 100 for line in lines]
        for epoch, ((seconds, _), top1) in enumerate(zip(found.ticks, scores, strict=True), 1):
            if epoch % max(1, epochs // 8) == 0 and epoch < epochs:
                self.keep(Point(task, f"{tool}, on the way", seed, epoch / epochs, top1, seconds))
        self.keep(Point(task, tool, seed, 1, max(scores), found.wall))

    def by_transformers(self, task: str, data: Path, seed: int, script: Path, epochs: int) -> None:
        tool = "transformers"
        if self.there(task, tool, seed, 1):
            return
        folder, log = self.out / "transformers", self.out / "transformers.log"
        start = find_checkpoint(self.model, {}).plain.folder
        shutil.rmtree(folder, ignore_errors=True)
        (self.out / "accuracy").mkdir(exist_ok=True)
        (self.out / "accuracy" / "accuracy.py").write_text(ACCURACY)
        call = [
            sys.executable, str(script.resolve()), "--model_name_or_path", str(start),
            "--ignore_mismatched_sizes", "--train_dir", str(data / "train"), "--validation_dir", str(data / "test"),
            "--output_dir", str(folder.resolve()), "--do_train", "--do_eval", "--eval_strategy", "epoch",
            "--save_strategy", "no", "--use_cpu", "--num_train_epochs", str(epochs), "--learning_rate", "2e-5",
            "--per_device_train_batch_size", "8", "--per_device_eval_batch_size", "8", "--dataloader_num_workers", "2",
            "--remove_unused_columns", "False", "--disable_tqdm", "True", "--report_to", "none", "--seed", str(seed),
        ]  # fmt: skip
        found = timed(
            into(log.resolve(), call), lambda text: [False] * text.count("eval_accuracy"), log.resolve(),
            folder=self.out, environment=self.environment, watches_memory=False,
        )  # fmt: skip
        scores = [float(score) for score in re.findall(r"'eval_accuracy': '?([\d.e-]+)", log.read_text())]
        self.keep(Point(task, tool, seed, 1, max(scores), found.wall))


def _plain(name: str) -> str:
    return re.sub(r"\W+", "-", name)


def _classes(data: Path) -> list[Path]:
    return sorted((data / "train").iterdir())


def write_pictures(source: str, folder: Path) -> None:
    """Write a folder a class, under train/, validation/ and test/, of the splits that nfft takes."""
    name, _, settings = source.partition("?")
    own = dict(each.split("=", 1) for each in settings.split("&") if each)
    shots = own.pop("shots", None)
    data = load_data(read_task(name, {f"task.{setting}": value for setting, value in own.items()}))
    data = draw_shots(data, int(shots), 0) if shots is not None else data
    for split in data.splits:
        for number in range(len(split)):
            place = folder / split.name / f"{split.labels[number]:04}"
            place.mkdir(parents=True, exist_ok=True)
            decode(split[number], split.rendering).save(place / f"{number:06}.png")


def table(points: list[Point]) -> Iterator[str]:
    """Means over seeds, and how nfft compares with each other tool."""
    yield "| data | tool | share of the epochs | top-1 % | seconds |\n|---|---|---:|---:|---:|"
    keys = list(dict.fromkeys((each.task, each.tool, each.share) for each in points))
    for task, tool, share in keys:
        runs = [each for each in points if (each.task, each.tool, each.share) == (task, tool, share)]
        top1, seconds = (statistics.mean(getattr(each, name) for each in runs) for name in ("top1", "seconds"))
        yield f"| {task} | {tool} | {share:g} | {100 * top1:.1f} | {seconds:.0f} |"
    yield "\n| nfft against | data | difference of top-1, points | share of its seconds |\n|---|---|---:|---:|"
    ours = {(each.task, each.seed): each for each in points if each.tool == "nfft" and each.share == 1}
    for tool in dict.fromkeys(each.tool for each in points if each.share == 1 and each.tool != "nfft"):
        theirs = [each for each in points if each.tool == tool and each.share == 1 and (each.task, each.seed) in ours]
        pairs = [(ours[each.task, each.seed], each) for each in theirs]
        for task in dict.fromkeys(each.task for each in theirs):
            yield _against(tool, task, [pair for pair in pairs if pair[1].task == task])
        yield _against(tool, "all", pairs)


def _against(tool: str, task: str, pairs: list[tuple[Point, Point]]) -> str:
    difference = paired([100 * theirs.top1 for _, theirs in pairs], [100 * mine.top1 for mine, _ in pairs])
    bounds = "" if difference.low is None else f" ({difference.low:+.1f} to {difference.high:+.1f})"
    share = statistics.mean(mine.seconds / theirs.seconds for mine, theirs in pairs)
    return f"| {tool} | {task} | {difference.mean:+.1f}{bounds} | {share:.2f} |"


def draw(points: list[Point], path: Path) -> None:
    """A panel for each data set: what each tool has reached after how many seconds."""
    tasks = list(dict.fromkeys(each.task for each in points))
    figure = Figure((4.2 * len(tasks), 3.6), layout="constrained")
    tools = list(dict.fromkeys(each.tool.removesuffix(", on the way") for each in points))
    for number, task in enumerate(tasks, 1):
        axes = figure.add_subplot(1, len(tasks), number)
        for color, tool in enumerate(tools):
            runs = [each for each in points if each.task == task and each.tool.removesuffix(", on the way") == tool]
            shares = sorted({each.share for each in runs})
            means = [
                [statistics.mean(getattr(each, name) for each in runs if each.share == share) for share in shares]
                for name in ("seconds", "top1")
            ]
            axes.plot(means[0], [100 * top1 for top1 in means[1]], "o-", color=f"C{color}", label=tool, markersize=4)
        axes.set_xscale("log")
        axes.set_title(task, fontsize=10)
        axes.set_xlabel("seconds")
        strip(axes)
    figure.axes[0].set_ylabel("test top-1 %")
    figure.axes[0].legend(fontsize=8)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--task", action="append", required=True, metavar="[NAME=]TASK")
    parser.add_argument("--model", default="nfnet-nano")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budgets", default="0.25,0.5", help="shares of auto's epochs, beside all of them")
    parser.add_argument("--timm", type=Path, help="timm's train.py")
    parser.add_argument("--transformers", type=Path, help="transformers' run_image_classification.py")
    parser.add_argument("--another", help="the command nfft of another build")
    parser.add_argument("--threads", help="of every tool (default: as each does)")
    options = parser.parse_args()
    bench = Bench(options.out, options.model, options.threads)
    tasks = dict(each.split("=", 1) if "=" in each.split("?")[0] else (each, each) for each in options.task)
    for task, source in tasks.items():
        data = options.out / "data" / _plain(task)
        if not data.is_dir():
            write_pictures(source, data)
    for seed in range(options.seeds):
        for task in tasks:
            run_all(bench, task, options.out / "data" / _plain(task), seed, options)
    print("\n" + "\n".join(table(bench.points)))
    draw(bench.points, options.out / "to_accuracy.png")


def run_all(bench: Bench, task: str, data: Path, seed: int, options: argparse.Namespace) -> None:
    """Each tool on one data set, in turn."""
    nfft = str(Path(sys.executable).parent / "nfft")
    bench.by_nfft(task, data, seed, "nfft", nfft)
    for share in (float(each) for each in options.budgets.split(",") if each):
        bench.by_nfft(task, data, seed, "nfft", nfft, share)
    if options.another is not None:
        bench.by_nfft(task, data, seed, "nfft before", options.another)
    epochs = round(bench.epochs(task, "nfft" if options.another is None else "nfft before"))
    for recipe in RATES if options.timm is not None else ():
        bench.by_timm(task, data, seed, recipe, options.timm, epochs)
    if options.transformers is not None:
        bench.by_transformers(task, data, seed, options.transformers, epochs)


if __name__ == "__main__":
    main()
