"""The paper's pieces in a plain training loop: AGC, SAM, averaged weights and the schedule.

python examples/own_loop.py --steps 60
"""

import argparse
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from nfft import AutoNFNet, Ema, clip_before_each_step, clipped, optimizer_groups, perturbed
from nfft.optim.schedule import learning_rate

BATCH, PEAK = 64, 0.1


def main(steps: int) -> float:
    """Fine-tune nfnet-nano on digits; returns top-1 of the averaged weights on images that it has not seen."""
    torch.manual_seed(0)
    images, labels = digits()
    train, test = slice(0, 1500), slice(1500, None)
    network = AutoNFNet.from_pretrained("nfnet-nano", num_classes=10).network.train()

    optimizer = torch.optim.SGD(optimizer_groups(network, weight_decay=1e-5), lr=PEAK, momentum=0.9, nesterov=True)
    clip_before_each_step(optimizer, clipped(network), clipping=0.08)
    average = Ema(network, decay=0.9999)

    for step, rows in enumerate(batches(len(images[train]), steps)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, peak=PEAK, total_steps=steps, warmup_steps=steps // 10)
        fifth = rows[: BATCH // 5]
        with perturbed(network.parameters(), F.cross_entropy(network(images[fifth]), labels[fifth]), rho=0.05):
            loss = F.cross_entropy(network(images[rows]), labels[rows], label_smoothing=0.1)
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(network)
        if step % 10 == 9:
            print(f"step {step + 1}/{steps} · loss {loss.item():.3f}")

    network.load_state_dict(average.average)
    with torch.inference_mode():
        return (network.eval()(images[test]).argmax(1) == labels[test]).float().mean().item()


def digits() -> tuple[Tensor, Tensor]:
    """All of scikit-learn's digits: normalized pixels (1797, 3, 48, 48) and labels (1797,)."""
    data = load_digits()
    pixels = torch.tensor(data.images, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 16
    return F.interpolate(pixels, size=48, mode="bicubic").clamp(0, 1) * 2 - 1, torch.tensor(data.target)


def batches(images: int, steps: int) -> Iterator[Tensor]:
    """Rows of `steps` batches, in a new order each epoch."""
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.randperm(images)
        yield order[:BATCH]
        order = order[BATCH:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    print(f"top-1 {main(parser.parse_args().steps):.1%}")
