"""Scaled weight standardization with the formula that a checkpoint was trained with: the authors', or timm's.

timm's convolutions divide by sqrt(variance + eps) and multiply by fan-in^-0.5; the authors divide by
sqrt(max(variance x fan-in, 1e-4)). With eps at 1e-12 the first is the second, but where the maximum bites, and there
the gain takes up the difference. eps is an argument of timm's networks and lies in config.json with them, so timm and
transformers compute what was trained.
"""

from typing import Any

import timm
import torch
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame
from torch import nn

ARGUMENT = "std_conv_eps"
AUTHORS_EPS = 1e-12
FLOOR = 1e-4


def standardization_arguments(architecture: str, arguments: dict[str, Any], *, authors: bool) -> dict[str, Any]:
    """The constructor's argument that makes timm's network compute the authors' formula; none where it needs none.

    Args:
        architecture: timm's name.
        arguments: of the constructor, as far as they are known; what they say of eps stays.
        authors: whether the weights are the authors', or about to be trained as theirs.
    """
    if not authors or ARGUMENT in arguments or not timm.models.is_model_in_modules(architecture, ["nfnet"]):
        return {}
    return {ARGUMENT: AUTHORS_EPS}


def are_authors(architecture: str, config: dict[str, Any]) -> bool:
    """Whether config.json is of weights as their authors trained them, in JAX, before anyone went on with them.

    Args:
        config: the content of config.json. timm tags the authors' weights "dm_in1k". Weights that were fine-tuned from
            them have other classes, or named ones, if timm wrote them, and the eps if nfft did.
    """
    preprocessing = config.get("pretrained_cfg", config)
    untouched = int(config.get("num_classes", 1000)) == 1000 and not config.get("label_names")
    untouched = untouched and ARGUMENT not in (config.get("model_args") or {})
    return architecture.startswith("dm_nfnet") and str(preprocessing.get("tag", "")).startswith("dm_") and untouched


@torch.no_grad()
def settle_gains(network: nn.Module) -> int:
    """Rescale the gains of channels where the authors' maximum bites, so that timm's formula gives the same output.

    Returns:
        How many channels there were.

    Source: the authors' `base.py`: gain x (W - mean) x rsqrt(max(variance x fan-in, 1e-4)).
    Differs: the output is theirs; in training such a channel goes by timm's gradient, which is orthogonal to it.
    """
    settled = 0
    for module in network.modules():
        if not isinstance(module, (ScaledStdConv2d, ScaledStdConv2dSame)):
            continue
        rows = module.weight.double().flatten(1)
        variance, fan_in = rows.var(dim=1, correction=0), rows.shape[1]
        bites = variance * fan_in < FLOOR
        factor = ((variance + module.eps) * fan_in / FLOOR).sqrt()
        module.gain[bites] *= factor[bites].to(module.gain.dtype).view(-1, 1, 1, 1)
        settled += int(bites.sum())
    return settled
