"""What folding saves in prediction: timm's network against `nfft.fold` of it, in turn, in float32 and bf16.

    OMP_NUM_THREADS=2 python benchmarks/folding.py dm_nfnet_f0 --side 192 --batch 1 8
    OMP_NUM_THREADS=2 python benchmarks/folding.py nf_resnet26 --side 64 --batch 1 64

timm's runs as it comes, its weights contiguous (channels_last makes it slower), in bf16 by autocast; the folded one
in channels_last, in bf16 with weights converted once. Prints medians over rounds, and of the ratios within each round.
"""

import argparse
import datetime
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib import metadata

import timm
import torch
from torch import Tensor, nn

from nfft import fold


def answers(network: nn.Module, images: Tensor, dtype: torch.dtype | None) -> Callable[[], Tensor]:
    context = nullcontext() if dtype is None else torch.autocast(images.device.type, dtype)

    @torch.inference_mode()
    def run() -> Tensor:
        with context:
            return network(images)

    return run


def seconds(run: Callable[[], Tensor]) -> float:
    began = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="ARCHITECTURE", help="timm's")
    parser.add_argument("--side", type=int, required=True, help="px")
    parser.add_argument("--batch", type=int, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    network = timm.create_model(given.name).eval().to(device)
    versions = f"torch {metadata.version('torch')}, timm {metadata.version('timm')}"
    print(f"{datetime.date.today()}; {device}, {torch.get_num_threads()} threads; {versions}; {given.rounds} rounds")
    print("| network | images | precision | timm, ms | folded, ms | timm / folded | quartiles | largest difference |")
    print("|---|---|---|---:|---:|---:|---|---:|")
    for batch in given.batch:
        images = torch.randn(batch, 3, given.side, given.side, device=device)
        for precision, dtype in (("fp32", None), ("bf16", torch.bfloat16)):
            theirs = answers(network, images, dtype)
            folded = fold(network, dtype=dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            ours = answers(folded, images.contiguous(memory_format=torch.channels_last), dtype)
            logits = theirs().float()
            difference = (ours().float() - logits).abs().max() / (logits.max() - logits.min())
            times = [(seconds(theirs), seconds(ours)) for _ in range(given.rounds)]
            ratios = [slow / fast for slow, fast in times]
            first, _, third = statistics.quantiles(ratios, n=4)
            slow, fast = (1000 * statistics.median(column) for column in zip(*times, strict=True))
            print(f"| {given.name} | {batch} of {given.side} px | {precision} | {slow:.0f} | {fast:.0f} "
                  f"| {statistics.median(ratios):.2f} | {first:.2f} to {third:.2f} | {difference:.0e} |")  # fmt: skip


if __name__ == "__main__":
    main()
