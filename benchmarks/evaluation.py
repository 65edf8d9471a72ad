"""What it takes to score a split twice, each time by two sets of weights: the Predictor against a plain loop, in turn.

    python benchmarks/evaluation.py --threads 2
    python benchmarks/evaluation.py --threads 2 --against path/to/another/checkout

The plain loop is what a script has: decode, normalize, the folded network, batch by batch, everything anew each time.
`--against` takes the Predictor of another checkout in its place, or, where that has none, the plain loop with its
`nfft.fold`. Each side is a process of its own. Prints medians over rounds, and of the ratios within each round: of
time, and of the processor's time, which neighbours on the machine disturb less.
"""

import argparse
import datetime
import hashlib
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from nfft import fold

CLASSES, EVALUATIONS = 10, 2
MEAN = STD = (0.5, 0.5, 0.5)
SIDES = ("ours", "plain", "other")
# Of each evaluation, the loss of each image by the name of the weights.
Job = Callable[[], list[Mapping[str, np.ndarray]]]


def pictures(count: int, side: int) -> list[bytes]:
    """JPEGs of smooth noise."""
    files = []
    for index in range(count):
        coarse = np.random.default_rng(index).integers(0, 256, (side // 4, side // 4, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=95)
        files.append(file.getvalue())
    return files


def networks(name: str) -> dict[str, nn.Module]:
    """Two networks as a run has them, in which no branch is zero."""
    torch.manual_seed(0)
    both = {}
    for weights in ("raw", "ema"):
        network = timm.create_model(name, num_classes=CLASSES)
        with torch.no_grad():
            for key, tensor in network.state_dict().items():
                if key.endswith(("gain", "bias", "fc.weight")):
                    tensor.add_(0.3 * torch.randn_like(tensor))
        both[weights] = network.to(memory_format=torch.channels_last)
    return both


def by_loop(given: argparse.Namespace) -> Job:
    """Without a Predictor."""
    files, both = pictures(given.images, given.side), networks(given.network)
    labels = torch.arange(given.images) % CLASSES
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))

    @torch.no_grad()
    def evaluation() -> dict[str, np.ndarray]:
        folded = {name: fold(network).to(memory_format=torch.channels_last) for name, network in both.items()}
        losses: dict[str, list[Tensor]] = {name: [] for name in both}
        for start in range(0, given.images, given.batch):
            views = [decoded(file, given.side) for file in files[start : start + given.batch]]
            images = torch.stack([torch.from_numpy(view) for view in views]).permute(0, 3, 1, 2)
            for name, network in folded.items():
                logits = network(images.float().div_(255).sub_(mean).div_(std))
                own = logits.log_softmax(1).gather(1, labels[start : start + given.batch, None])
                losses[name].append(-own.squeeze(1))
        return {name: torch.cat(parts).numpy() for name, parts in losses.items()}

    return lambda: [evaluation() for _ in range(EVALUATIONS)]


def decoded(file: bytes, side: int) -> np.ndarray:
    image = Image.open(io.BytesIO(file)).convert("RGB")
    return np.array(image.resize((side, side), Image.Resampling.BICUBIC))


def by_predictor(given: argparse.Namespace) -> Job:
    """As a run scores; raises ImportError where nfft has no Predictor yet."""
    from nfft.data.decode import evaluation_view
    from nfft.data.splits import Split
    from nfft.distributed.accelerator import make_accelerator
    from nfft.evaluation.predictor import Predictor

    rows = np.arange(given.images)
    split = Split("validation", pictures(given.images, given.side), rows, rows % CLASSES, "made here")
    both, accelerator = networks(given.network), make_accelerator("fp32")
    view = partial(evaluation_view, resolution=given.side, margin=0)

    def job() -> list[Mapping[str, np.ndarray]]:
        predictor = Predictor(accelerator, view, MEAN, STD, workers=0, batch_size=given.batch, keeps_views=True)
        evaluations = []
        for _ in range(EVALUATIONS):
            folded = {name: predictor.folded(network) for name, network in both.items()}
            predictions = predictor.predict(folded, split)
            evaluations.append({name: each.losses for name, each in predictions.items()})
        return evaluations

    return job


def serve(given: argparse.Namespace) -> None:
    """Do the job once for each line that comes in, and answer what it took and a hash of the losses."""
    torch.set_num_threads(given.threads)
    try:
        job = by_loop(given) if given.serve == "plain" else by_predictor(given)
    except ImportError:
        job = by_loop(given)
    print("ready", flush=True)
    for _ in sys.stdin:
        began, used = time.perf_counter(), processor_seconds()
        evaluations = job()
        took = time.perf_counter() - began, processor_seconds() - used
        digest = hashlib.sha256(b"".join(losses.tobytes() for each in evaluations for losses in each.values()))
        print(json.dumps([*took, digest.hexdigest()]), flush=True)


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Side:
    """A process that does the job when it is told to."""

    def __init__(self, name: str, given: argparse.Namespace) -> None:
        settings = ("network", "side", "images", "batch", "threads")
        arguments = [word for each in settings for word in (f"--{each}", str(getattr(given, each)))]
        paths = [str(given.against)] if name == "other" else []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.answer()

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self.process.args))} failed")
        return line

    def job(self) -> tuple[float, float, str]:
        """Seconds, seconds of the processor, and a hash of the losses."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return tuple(json.loads(self.answer()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="nf_resnet26", help="timm's name (default: %(default)s)")
    parser.add_argument("--side", type=int, default=64, help="px (default: %(default)s)")
    parser.add_argument("--images", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--against", type=Path, help="a checkout of another release (default: the plain loop)")
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given)
        return
    ours, theirs = Side("ours", given), Side("other" if given.against else "plain", given)
    pairs = [(ours.job(), theirs.job()) for _ in range(given.rounds)]
    versions = f"torch {metadata.version('torch')}, timm {metadata.version('timm')}"
    print(f"{datetime.date.today()}; {given.threads} threads, float32; {versions}; {given.rounds} rounds; "
          f"{given.images} images of {given.side} px, {given.network}, batches of {given.batch}\n")  # fmt: skip
    print(f"| | Predictor | {'other' if given.against else 'plain'} | ratio | in rounds |\n|---|---:|---:|---:|---:|")
    for place, name in enumerate(("time", "processor's time")):
        mine, others = ([each[place] for each in column] for column in zip(*pairs, strict=True))
        ratios = [one / other for one, other in zip(mine, others, strict=True)]
        print(f"| {name} | {statistics.median(mine):.2f} s | {statistics.median(others):.2f} s "
              f"| {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |")  # fmt: skip
    same = all(mine[2] == other[2] for mine, other in pairs)
    print(f"\nThe losses are {'the same to the bit' if same else 'not the same to the bit'}.")


if __name__ == "__main__":
    main()
