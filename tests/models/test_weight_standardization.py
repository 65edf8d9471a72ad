"""Weights are standardized as they were trained: by the authors' formula or by timm's, wherever they are loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from reference import Value, standardize
from safetensors.torch import save_file
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame
from torch import nn

from nfft.models.build import build_network
from nfft.models.checkpoint import open_checkpoint, random_checkpoint
from nfft.models.saving import save_network
from nfft.models.transforms import squash_preprocessing
from nfft.models.weight_standardization import AUTHORS_EPS, settle_gains

SMALL = {
    "depths": [1, 2, 1, 1],
    "channels": [32, 48, 64, 64],
    "stem_chs": 16,
    "group_size": 8,
    "num_features": 64,
}
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def network_of(**arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model("dm_nfnet_f0", **{**SMALL, **arguments})
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "gain" in name or name.endswith("bias"):
                parameter.add_(0.5 * torch.randn_like(parameter))
    return network.eval()


def write(folder: Path, network: nn.Module, *, tag: str = "dm_in1k", **entries: Any) -> Path:
    """What the Hub holds of `network`, as timm's own repositories are laid out."""
    preprocessing = {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3, "tag": tag, "num_classes": 1000}
    config = {"architecture": "dm_nfnet_f0", "num_classes": 1000, "model_args": SMALL, "pretrained_cfg": preprocessing}
    config |= entries
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "model.safetensors")
    return folder


def effective_weight(convolution: nn.Module) -> np.ndarray:
    """What the convolution really convolves with, found by asking it."""
    taken: list[torch.Tensor] = []

    def record(_: Any, weight: torch.Tensor, *__: Any, **___: Any) -> torch.Tensor:
        taken.append(weight)
        return torch.zeros(1)

    plain, nn.functional.conv2d = nn.functional.conv2d, record
    try:
        convolution(torch.zeros(1, convolution.weight.shape[1] * convolution.groups, 8, 8))
    finally:
        nn.functional.conv2d = plain
    return taken[0].detach().double().numpy()


def authors_weight(convolution: nn.Module) -> np.ndarray:
    """The same by the paper's formula, in float64."""
    weight, gain = (Value(tensor.detach().double().numpy()) for tensor in (convolution.weight, convolution.gain))
    return standardize(weight, gain).data


def convolutions(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, (ScaledStdConv2d, ScaledStdConv2dSame))]


def test_authors_weights_are_standardized_by_their_formula_even_where_the_maximum_bites(tmp_path: Path) -> None:
    trained = network_of()
    expected = []
    with torch.no_grad():
        for convolution in convolutions(trained):
            # sqrt(variance x fan-in) on both sides of where the maximum begins to bite, far below it, and dead.
            for row, root in zip(convolution.weight, [0.0098, 0.0102, 1e-3, 1e-6, 0], strict=False):
                row.sub_(row.mean()).mul_(root / (row.std(correction=0) * row.numel() ** 0.5)).add_(0.1 * root)
            expected.append(authors_weight(convolution))
    checkpoint = open_checkpoint("theirs", write(tmp_path, trained))
    assert checkpoint.is_authors and checkpoint.arguments["std_conv_eps"] == AUTHORS_EPS
    loaded = build_network(checkpoint, [str(n) for n in range(1000)], dropout=0, stochastic_depth=0)
    for convolution, weight in zip(convolutions(loaded), expected, strict=True):
        np.testing.assert_allclose(effective_weight(convolution), weight, rtol=0, atol=2e-6 * np.abs(weight).max())


def test_timms_own_formula_is_far_off() -> None:
    convolution = convolutions(network_of())[-1]
    expected = authors_weight(convolution)
    off = np.abs(effective_weight(convolution) - expected).max() / np.abs(expected).max()
    assert off > 2e-4


def test_what_was_settled_once_stays_settled(tmp_path: Path) -> None:
    trained = network_of()
    with torch.no_grad():
        convolutions(trained)[0].weight[1] *= 1e-4
    names = [str(n) for n in range(1000)]
    first = open_checkpoint("theirs", write(tmp_path / "theirs", trained))
    network = build_network(first, names, dropout=0, stochastic_depth=0)
    folder = tmp_path / "ours"
    folder.mkdir()
    save_network(network, folder, checkpoint=first, classes=names, preprocessing=squash_preprocessing(first, 64, 0))
    again = open_checkpoint("ours", folder)
    assert not again.is_authors and again.arguments["std_conv_eps"] == AUTHORS_EPS
    answers = [
        reader.eval()(IMAGES)
        for reader in (
            network,
            timm.create_model(f"local-dir:{folder}", pretrained=True),
            build_network(again, names, dropout=0, stochastic_depth=0),
        )
    ]
    assert torch.equal(answers[0], answers[1]) and torch.equal(answers[0], answers[2])


@pytest.mark.parametrize(
    ("why", "entries"),
    [
        ("another tag", {"tag": "ra2_in1k"}),
        ("classes of its own", {"num_classes": 7}),
        ("classes with names", {"label_names": [str(n) for n in range(1000)]}),
        ("an eps that is given", {"model_args": {**SMALL, "std_conv_eps": 1e-5}}),
        ("another architecture", {"architecture": "nfnet_f0"}),
    ],
)
def test_other_checkpoints_keep_timms_formula(why: str, entries: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = open_checkpoint("other", write(tmp_path, network_of(), **entries))
    assert not checkpoint.is_authors, why
    assert checkpoint.arguments.get("std_conv_eps", 1e-5) == 1e-5


def test_random_weights_of_normalizer_free_networks_get_the_authors_formula() -> None:
    assert random_checkpoint("dm_nfnet_f0", {}).arguments == {"std_conv_eps": AUTHORS_EPS}
    assert random_checkpoint("nf_resnet50", {}).arguments == {"std_conv_eps": AUTHORS_EPS}
    assert random_checkpoint("nf_resnet50", {"std_conv_eps": 1e-5}).arguments == {"std_conv_eps": 1e-5}
    assert random_checkpoint("resnet18", {}).arguments == {}


def test_a_network_with_usual_weights_is_left_as_it_is() -> None:
    network = network_of(std_conv_eps=AUTHORS_EPS)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert settle_gains(network) == 0
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
