"""The same job by nfft and by timm's train.py, in turn: whole run, steps, evaluation, first step, probe, memory.

    python benchmarks/against_timm.py path/to/pytorch-image-models/train.py path/to/cifar10 --rounds 3

`cifar10` is a folder of Parquet files with the columns image and label; 2,000 training and 1,000 test images are used,
at 64 px. train.py is run as it is, with the same network, epochs, batch, AGC and average of weights. Both score
raw and averaged weights after each epoch. Prints medians over rounds, and of the ratios within each round.

A probe trains the classifier alone. train.py has no option for that: its network is frozen before it starts, and it
takes five epochs over the images, as people do; nfft looks at each image once.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from same_job import (
    BATCH,
    EPOCHS,
    MODEL,
    SIDE,
    Timed,
    by_nfft,
    heading,
    images,
    into,
    precision_of,
    row,
    rows,
    start_of,
    timed,
)  # fmt: skip

PROBE_EPOCHS = 5
LABELS = {"default": "each at its default precision", "bf16": "both in bf16", "probe": "probe, each at its default"}
# The network is frozen where train.py makes it; the rest of train.py is as it is.
FROZEN = """
import runpy, sys, timm, timm.models
made = timm.models.create_model
def frozen(*arguments, **settings):
    model = made(*arguments, **settings)
    model.requires_grad_(False)
    model.get_classifier().requires_grad_(True)
    return model
timm.create_model = timm.models.create_model = frozen
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def by_timm(script: Path, data: Path, work: Path, *, bf16: bool, probe: bool) -> Timed:
    epochs = PROBE_EPOCHS if probe else EPOCHS
    log = work / "timm" / "summary.log"
    shutil.rmtree(work / "timm", ignore_errors=True)
    log.parent.mkdir(parents=True)
    start = [sys.executable, "-c", FROZEN, str(script)] if probe else [sys.executable, str(script)]
    command = [
        *start, "--data-dir", str(data), "--model", MODEL, "--num-classes", "10", "--img-size", str(SIDE),
        "-b", str(BATCH), "--epochs", str(epochs), "--warmup-epochs", "0", "--sched", "cosine",
        "--opt", "sgd", "--lr", "0.1", "--momentum", "0.9", "--weight-decay", "1e-5",
        "--clip-grad", "0.08", "--clip-mode", "agc", "--model-ema", "--model-ema-decay", "0.999",
        "--workers", "2", "--device", "cpu", "--log-interval", "1", "--color-jitter", "0", "--crop-pct", "1.0",
        "--output", str(log.parent), "--experiment", "run", *(["--amp", "--amp-dtype", "bfloat16"] if bf16 else []),
    ]  # fmt: skip
    pattern = re.compile(r"^Train: \d+ \[ *(\d+)/", re.MULTILINE)
    found = timed(into(log, command), lambda text: [each == "0" for each in pattern.findall(text)], log)
    written = (log.parent / "run" / "summary.csv").read_text().splitlines()
    names, last = written[0].split(","), written[-1].split(",")
    found.top1 = float(dict(zip(names, last, strict=True))["eval_top1"]) / 100
    return found


def help_seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run([*command, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="timm's train.py")
    parser.add_argument("data", type=Path, help="a folder of Parquet files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=LABELS, nargs="+", default=[*LABELS], help="which comparisons (default: all)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        images(given.data, work / "data")
        start_of(work / "start")
        print(heading("timm's train.py", given.rounds, timm=metadata.version("timm")))
        for kind in given.only:
            compare(kind, given.train, work, given.rounds)
        commands = ["nfft", "finetune"], [sys.executable, str(given.train)]
        helps = [[help_seconds(command) for command in commands] for _ in range(given.rounds)]
        print(row("`--help`", *zip(*helps, strict=True), "s"))


def compare(kind: str, train: Path, work: Path, rounds: int) -> None:
    probe, bf16 = kind == "probe", kind == "bf16"
    ours, theirs = [], []
    for _ in range(rounds):
        # nfft's own choice is bf16 where the machine is fast at it, else float32; timm's is float32.
        precision, start = "bf16" if bf16 else "auto", work / "start" if probe else None
        ours.append(by_nfft(work / "data", work, precision=precision, start=start))
        theirs.append(by_timm(train, work / "data", work, bf16=bf16, probe=probe))
    label = LABELS[kind] if bf16 else f"{LABELS[kind]} ({precision_of(work)}, fp32)"
    print("\n".join(rows(label, ours, theirs)), flush=True)


if __name__ == "__main__":
    main()
