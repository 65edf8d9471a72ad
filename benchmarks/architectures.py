"""Size and cost of the paper's networks, beside the figures that the paper prints.

    python benchmarks/architectures.py

Prints the table of docs/architectures.md. Networks and images lie on torch's meta device: nothing is computed, and no
memory is needed. The paper's "FLOPs" are multiply-adds of convolutions and linear layers, for one image at test size.
"""

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from nfft.models import architectures

# Millions of parameters, thousand millions of multiply-adds. Source: arXiv 2102.06171.
PAPER = {
    "dm_nfnet_f0": (71.5, 12.38),
    "dm_nfnet_f1": (132.6, 35.54),
    "dm_nfnet_f2": (193.8, 62.59),
    "dm_nfnet_f3": (254.9, 114.76),
    "dm_nfnet_f4": (316.1, 215.24),
    "dm_nfnet_f5": (377.2, 289.76),
    "dm_nfnet_f6": (438.4, 377.28),
    "dm_nfnet_f4_plus": (527, 367),
}
NFNETS = [f"dm_nfnet_f{size}" for size in range(8)]
RESNETS = [f"{kind}_resnet{layers}" for kind in ("nf", "bn") for layers in (26, 50, 101, 152, 200)]
NAMES = [*NFNETS, *(f"{name}_plus" for name in NFNETS), *RESNETS]
HEAD = """\
| network | name | train px | test px | parameters, M | paper | difference | GFLOPs | paper | difference |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"""


def main() -> None:
    assert set(NAMES) > set(architectures.ADDED)
    print(HEAD)
    for name in NAMES:
        print(row(name), flush=True)


def row(name: str) -> str:
    """A line of the table."""
    train, test = sides(name)
    parameters, macs = parameters_and_macs(name, test)
    cells = [title(name), f"`{name}`", str(train), str(test)]
    for ours, paper in zip((parameters / 1e6, macs / 1e9), PAPER.get(name, (None, None)), strict=True):
        # Zero is added for the sign of what is rounded to -0.
        difference = f"{round(100 * (ours / paper - 1), 1) + 0.0:+.1f} %" if paper else "–"
        cells += [f"{ours:.2f}", f"{paper:g}" if paper else "–", difference]
    return f"| {' | '.join(cells)} |"


def title(name: str) -> str:
    """The paper's name of a network."""
    if "resnet" in name:
        return name.upper().replace("_RESNET", "-ResNet-")
    return name.removeprefix("dm_").replace("nfnet_f", "NFNet-F").replace("_plus", "+")


def sides(name: str) -> tuple[int, int]:
    """Training and test resolution in px. The paper's ResNets have several for tests; this is the first."""
    if "resnet" in name:
        return 224, 224
    known = timm.get_pretrained_cfg(name)
    return known.input_size[-1], known.test_input_size[-1]


def parameters_and_macs(architecture: str, resolution: int) -> tuple[int, int]:
    """Parameters, and multiply-adds of convolutions and linear layers for one image; no other operation counts.

    Args:
        architecture: timm's name, or one of nfft.models.architectures.
        resolution: side of the image in px.
    """
    with torch.device("meta"):
        network = timm.create_model(architecture).eval()
        image = torch.empty(1, 3, resolution, resolution)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image)
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2


if __name__ == "__main__":
    main()
