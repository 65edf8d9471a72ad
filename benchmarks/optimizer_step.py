"""What is between the gradient and the next batch: AGC, SGD and the average of weights, by nfft and by timm, in turn.

    OMP_NUM_THREADS=2 python benchmarks/optimizer_step.py nf_resnet26 dm_nfnet_f0

Gradients are random, of a size at which a few per cent of the units are clipped. nfft's step is that of nfft/update.py:
its pieces in turn and, on a GPU, all in one pass. timm's is that of its train.py: `adaptive_clip_grad` over all but the
head, its optimizer "sgd", ModelEmaV3. All keep the order channels_last of weights. Prints medians over rounds of a step
each, and the ratio; and the floor, which is what reading weights, gradients, momentum and average once, and writing all
but the gradients, would take at the speed of a plain copy on this machine, as a time and as a share of nfft's.
"""

import argparse
import copy
import datetime
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from timm.utils.agc import adaptive_clip_grad
from torch import nn

from nfft.optim.ema import Ema
from nfft.optim.param_groups import optimizer_groups
from nfft.optim.step import SequentialUpdate, Update, fastest_update

LR, MOMENTUM, DECAY, CLIPPING = 0.01, 0.9, 1e-5, 0.08
SHARE = 0.02  # of units that are clipped, about


def prepared(name: str, device: torch.device) -> nn.Module:
    """A network with gradients, some of them too long."""
    torch.manual_seed(0)
    network = timm.create_model(name).to(device, memory_format=torch.channels_last)
    for parameter in network.parameters():
        parameter.grad = torch.randn_like(parameter) * 1e-4 * (1 + parameter.detach().abs().mean())
        if parameter.ndim > 1:
            rows = torch.rand(len(parameter), *[1] * (parameter.ndim - 1), device=device) < SHARE
            parameter.grad += rows * parameter.detach()
    return network


def by_nfft(network: nn.Module, kind: Callable[..., Update]) -> Callable[[], None]:
    optimizer = torch.optim.SGD(optimizer_groups(network, DECAY), lr=LR, momentum=MOMENTUM, nesterov=True, fused=True)
    update = kind(network, optimizer, Ema(network, 0.9999))
    return lambda: update(clipping=CLIPPING)


def by_timm(network: nn.Module) -> Callable[[], None]:
    optimizer = create_optimizer_v2(network, opt="sgd", lr=LR, weight_decay=DECAY, momentum=MOMENTUM)
    average = ModelEmaV3(network, decay=0.9999)
    from timm.models import model_parameters

    def step() -> None:
        adaptive_clip_grad(model_parameters(network, exclude_head=True), CLIPPING)
        optimizer.step()
        average.update(network)

    return step


def seconds(step: Callable[[], None], device: torch.device) -> float:
    began = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def copy_speed(device: torch.device) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.randn(32_000_000, device=device)
    target = torch.empty_like(source)
    times = [seconds(lambda: target.copy_(source), device) for _ in range(9)]
    return 2 * source.numel() * source.element_size() / statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="ARCHITECTURE", help="timm's")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    device = torch.device(given.device)
    speed = copy_speed(device)
    versions = f"torch {metadata.version('torch')}, timm {metadata.version('timm')}"
    print(f"{datetime.date.today()}; {device}, {torch.get_num_threads()} threads; {versions}; {given.rounds} rounds")
    print(
        "| network | parameters | update | nfft, ms | timm, ms | nfft / timm | quartiles | floor, ms | floor / nfft |"
    )
    print("|---|---:|---|---:|---:|---:|---|---:|---:|")
    kinds: dict[str, Callable[..., Update]] = {"in turn": SequentialUpdate}
    if device.type == "cuda":
        kinds["in one pass"] = partial(fastest_update, scaled=False)
    for name in given.names:
        network = prepared(name, device)
        count = sum(parameter.numel() for parameter in network.parameters())
        floor = 7 * 4 * count / speed
        ours, theirs = {kind: by_nfft(copied(network), kinds[kind]) for kind in kinds}, by_timm(copied(network))
        rounds = [
            ({kind: seconds(step, device) for kind, step in ours.items()}, seconds(theirs, device))
            for _ in range(given.rounds + 2)
        ][2:]
        other = statistics.median(theirs for _, theirs in rounds)
        for kind in kinds:
            mine = statistics.median(each[kind] for each, _ in rounds)
            first, ratio, third = statistics.quantiles([each[kind] / theirs for each, theirs in rounds], n=4)
            print(f"| {name} | {count / 1e6:.1f} M | {kind} | {1000 * mine:.1f} | {1000 * other:.1f} | {ratio:.2f} "
                  f"| {first:.2f} to {third:.2f} | {1000 * floor:.1f} | {floor / mine:.0%} |")  # fmt: skip


def copied(network: nn.Module) -> nn.Module:
    """The same network with the same gradients."""
    other = copy.deepcopy(network)
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        theirs.grad = None if mine.grad is None else mine.grad.clone()
    return other


if __name__ == "__main__":
    main()
