"""The paper's networks that timm lacks: importing this module adds them to timm's registry.

Each is one of timm's networks with other arguments. What is saved under timm's name and those arguments (`in_timm`)
loads in timm and transformers where nobody has heard of the names here.

Source: arXiv 2102.06171, with F4+ and the ResNets of tables 4 and 5; the authors' `base.py`, `nfnet.py`,
    `nf_resnet.py` and `resnet.py`.
Differs: the stem of a + network ends in 128 channels, as every NFNet's of timm, where the authors' ends in 192; and the
    paper counts an F4+ that is wider than its code's (docs/architectures.md). The ResNets are timm's: a shortcut
    average-pools and then convolves with stride 1, where the authors' convolution has the stride, and strided layers
    pad both sides alike. As theirs, a BN-ResNet and an NF-ResNet have the same convolutions. An NF-ResNet's blocks
    begin as the identity, with gains of 0; a BN-ResNet's do not, and its classifier is a 1x1 convolution.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import timm
from timm.models import PretrainedCfg, generate_default_cfgs, register_model, resolve_pretrained_cfg
from torch import nn

F7 = {"depths": [8, 16, 48, 24]}
# Groups of 128 channels, as everywhere: but of 128, and of any multiple of 8, timm (and the authors' released code)
# would round the first stage's bottleneck of 192 down to one group. Of 127 it rounds none, and makes as many groups.
# F4+ has the paper's 527 M parameters and 367 GFLOPs only so.
PLUS = {"channels": [384, 768, 2048, 2048], "num_features": 4096, "group_size": 127}

# Name: timm's name and the arguments of its constructor, as JSON has them.
ADDED: dict[str, tuple[str, dict[str, Any]]] = {
    "dm_nfnet_f7": ("dm_nfnet_f6", F7),
    **{f"dm_nfnet_f{size}_plus": (f"dm_nfnet_f{size}", PLUS) for size in range(7)},
    "dm_nfnet_f7_plus": ("dm_nfnet_f6", {**F7, **PLUS}),
    "nf_resnet152": ("nf_resnet101", {"depths": [3, 8, 36, 3]}),
    "nf_resnet200": ("nf_resnet101", {"depths": [3, 24, 36, 3]}),
    "bn_resnet26": ("resnetv2_50", {"layers": [2, 2, 2, 2], "avg_down": True}),
    "bn_resnet50": ("resnetv2_50", {"avg_down": True}),
    "bn_resnet101": ("resnetv2_101", {"avg_down": True}),
    "bn_resnet152": ("resnetv2_152", {"avg_down": True}),
    "bn_resnet200": ("resnetv2_152", {"layers": [3, 24, 36, 3], "avg_down": True}),
}
# Of F0 to F6, + or not, timm knows the sizes. The crop is the paper's: 608 px of 640.
F7_PREPROCESSING: dict[str, Any] = {
    "input_size": (3, 480, 480),
    "test_input_size": (3, 608, 608),
    "pool_size": (15, 15),
    "crop_pct": 0.95,
}

# timm adds the names of what it registers.
__all__ = ["ADDED", "in_timm"]


def in_timm(architecture: str) -> tuple[str, dict[str, Any]]:
    """An architecture in timm's own terms, for whoever does not have this module.

    Args:
        architecture: one of ADDED, or timm's own name.

    Returns:
        timm's name, and the arguments that make it this network: none for timm's own. The arguments are JSON as they
        are, for `model_args` in config.json.
    """
    base, arguments = ADDED.get(architecture, (architecture, {}))
    return base, copy.deepcopy(arguments)


def _preprocessing(name: str) -> PretrainedCfg:
    """What timm says of the network that this one is a variant of, without its weights.

    A BN-ResNet sees the images that its normalizer-free twin sees, though timm has others for its own resnetv2.
    """
    known = timm.get_pretrained_cfg(in_timm(name.replace("bn_", "nf_"))[0])
    assert known is not None
    sizes = F7_PREPROCESSING if name.startswith("dm_nfnet_f7") else {}
    return replace(known, url=None, hf_hub_id=None, tag=None, license=None, **sizes)


def _register(name: str) -> Callable[..., nn.Module]:
    base, arguments = ADDED[name]

    def create(pretrained: bool = False, pretrained_cfg: Any = None, **settings: Any) -> nn.Module:
        described = resolve_pretrained_cfg(name, pretrained_cfg)
        network: Any = timm.create_model(base, pretrained, described, **{**copy.deepcopy(arguments), **settings})
        # What timm's own save functions write as architecture; the arguments they take from the call above.
        network.pretrained_cfg["architecture"] = base
        return network

    create.__name__ = create.__qualname__ = name
    create.__doc__ = f"timm's {base} with {', '.join(f'{key}={value}' for key, value in arguments.items())}."
    return register_model(create)


default_cfgs = generate_default_cfgs({name: _preprocessing(name) for name in ADDED})
globals().update({name: _register(name) for name in ADDED})


def is_normalizer_free(architecture: str) -> bool:
    """Whether this is one of timm's networks without normalization, or one of ADDED without it."""
    return architecture.startswith("nf_") or "nfnet" in architecture
