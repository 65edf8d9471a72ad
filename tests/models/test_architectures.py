"""The paper's networks have the paper's sizes, and load where nobody knows their names."""

import importlib.util
import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import nn

from nfft.models.architectures import ADDED, in_timm

ROOT = Path(__file__).parents[2]
DEPTHS = {26: [2, 2, 2, 2], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3], 200: [3, 24, 36, 3]}


def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("counting", ROOT / "benchmarks" / "architectures.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


counting = script()
parameters_and_macs = cache(counting.parameters_and_macs)
counting.parameters_and_macs = parameters_and_macs


def on_meta(name: str, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, **arguments).eval()


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def convolutions(network: nn.Module) -> dict[str, tuple]:
    """What each convolution but the classifier is, under the name that timm's nf_resnet would give it."""
    return {
        name.replace("blocks.", ""): (
            module.weight.shape,
            module.stride,
            module.padding,
            module.dilation,
            module.groups,
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module is not network.get_classifier()
    }


def pools(network: nn.Module) -> list[str]:
    return [repr(module) for module in network.modules() if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d))]


# The others are these with more blocks, and take the longer.
SOME = ("dm_nfnet_f0", "dm_nfnet_f1", "dm_nfnet_f4_plus", "dm_nfnet_f7", "dm_nfnet_f0_plus", "dm_nfnet_f1_plus")


def large_are_slow(names: Iterable[str]) -> list[object]:
    return [name if name in SOME or "resnet" in name else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", large_are_slow(counting.PAPER))
def test_sizes_are_the_papers(name: str) -> None:
    parameters, macs = parameters_and_macs(name, counting.sides(name)[1])
    paper_parameters, paper_macs = counting.PAPER[name]
    assert parameters / 1e6 == pytest.approx(paper_parameters, rel=0.01)
    assert macs / 1e9 == pytest.approx(paper_macs, rel=0.01)
    assert counting.row(name) in (ROOT / "docs" / "architectures.md").read_text().splitlines()


def test_the_table_has_every_network() -> None:
    table = (ROOT / "docs" / "architectures.md").read_text()
    assert set(ADDED) < set(counting.NAMES)
    for name in counting.NAMES:
        assert table.count(f"| {counting.title(name)} | `{name}` |") == 1
    assert counting.HEAD in table


@pytest.mark.parametrize("name", ["dm_nfnet_f0", "nf_regnet_b0", "bn_resnet26"])
def test_only_convolutions_and_linear_layers_count(name: str) -> None:
    network, macs = on_meta(name), []

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        macs.append(output[0].numel() * module.weight[0].numel())

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    network(torch.empty(1, 3, 96, 96, device="meta"))
    weights = [parameter.numel() for parameter in network.parameters()]
    assert counting.parameters_and_macs(name, 96) == (sum(weights), sum(macs))


def test_timm_knows_the_names() -> None:
    assert timm.list_models("dm_nfnet_f?_plus") == [f"dm_nfnet_f{size}_plus" for size in range(8)]
    assert timm.list_models("bn_resnet*") == [f"bn_resnet{layers}" for layers in DEPTHS]
    assert all(timm.is_model(name) for name in ADDED)


@pytest.mark.parametrize("name", large_are_slow(ADDED))
def test_an_added_network_is_timms_with_arguments(name: str) -> None:
    base, arguments = in_timm(name)
    assert base not in ADDED
    network = on_meta(name, num_classes=7)
    assert shapes(network) == shapes(on_meta(base, num_classes=7, **json.loads(json.dumps(arguments))))

    size = name.removeprefix("dm_nfnet_f").removesuffix("_plus")
    if name.startswith("dm_"):
        depths = [(int(size) + 1) * blocks for blocks in (1, 2, 6, 3)]
        channels = [384, 768, 2048, 4096] if name.endswith("_plus") else [256, 512, 1536, 3072]
    else:
        depths, channels = DEPTHS[int(name.split("resnet")[1])], [256, 512, 1024, 2048]
    assert [len(getattr(stage, "blocks", stage)) for stage in network.stages] == depths
    assert [stage["num_chs"] for stage in network.feature_info[1:]] == channels
    assert network.num_features == channels[-1]


def test_timms_own_names_stay_as_they_are() -> None:
    assert in_timm("nf_resnet50") == ("nf_resnet50", {})
    assert in_timm("dm_nfnet_f0.dm_in1k") == ("dm_nfnet_f0.dm_in1k", {})


def test_arguments_are_the_callers_to_change() -> None:
    in_timm("dm_nfnet_f0_plus")[1]["channels"].clear()
    assert in_timm("dm_nfnet_f1_plus")[1]["channels"] == [384, 768, 2048, 2048]


@pytest.mark.parametrize("layers", DEPTHS)
def test_twins_differ_in_normalization_alone(layers: int) -> None:
    free, normalized = on_meta(f"nf_resnet{layers}"), on_meta(f"bn_resnet{layers}")
    assert convolutions(free) == convolutions(normalized)
    assert pools(free) == pools(normalized)
    # Beside the weights of convolutions and the classifier there are gains and biases of convolutions, or norms.
    weights = sum(weight.numel() for name, weight in free.named_parameters() if name.endswith("weight"))
    norms = [module for module in normalized.modules() if isinstance(module, nn.BatchNorm2d)]
    of_norms = sum(2 * module.num_features for module in norms)
    assert sum(parameter.numel() for parameter in normalized.parameters()) == weights + of_norms + 1000
    # One before each convolution of a block, and one before the classifier.
    assert len(norms) == 3 * sum(DEPTHS[layers]) + 1


@torch.no_grad()
def test_twins_agree_stage_by_stage() -> None:
    image = torch.empty(2, 3, 65, 65, device="meta")
    outputs = [
        [stage.shape for stage in on_meta(f"{kind}_resnet26").forward_intermediates(image, intermediates_only=True)]
        for kind in ("nf", "bn")
    ]
    assert outputs[0] == outputs[1]
    assert [shape[1:] for shape in outputs[0]] == [(64, 33, 33), (256, 17, 17), (512, 9, 9), (1024, 5, 5), (2048, 3, 3)]


@pytest.mark.parametrize("layers", DEPTHS)
def test_twins_see_the_same_images(layers: int) -> None:
    normalized = timm.get_pretrained_cfg(f"bn_resnet{layers}")
    free = timm.get_pretrained_cfg(f"nf_resnet{layers}")
    without_weights = replace(free, url=None, hf_hub_id=None, tag=None, license=None, architecture=f"bn_resnet{layers}")
    assert normalized == without_weights


@pytest.mark.parametrize("name", ADDED)
def test_preprocessing_is_registered_without_weights(name: str) -> None:
    known = timm.get_pretrained_cfg(name)
    assert known.architecture == name
    assert not known.has_weights
    assert (known.tag, known.license) == (None, None)
    assert known.interpolation == "bicubic"
    assert known.mean == (0.485, 0.456, 0.406)
    if name.startswith("dm_"):
        sides = {"0": (192, 256), "1": (224, 320), "2": (256, 352), "3": (320, 416), "4": (384, 512), "5": (416, 544)}
        sides |= {"6": (448, 576), "7": (480, 608)}
        train, test = sides[name.removeprefix("dm_nfnet_f")[0]]
        assert (known.input_size, known.test_input_size) == ((3, train, train), (3, test, test))
        assert known.pool_size == (train // 32, train // 32)
        assert known.crop_mode == "squash"


def test_there_are_no_weights_to_ask_for() -> None:
    with pytest.raises(RuntimeError, match="No pretrained weights exist for dm_nfnet_f0_plus"):
        timm.create_model("dm_nfnet_f0_plus", pretrained=True, width_factor=0.125, group_size=8)
    with pytest.raises(RuntimeError, match="Invalid pretrained tag"):
        timm.create_model("dm_nfnet_f0_plus.dm_in1k")


def test_timms_settings_reach_the_network() -> None:
    network = timm.create_model("nf_resnet200", width_factor=0.125, num_classes=5, drop_rate=0.3, drop_path_rate=0.2)
    assert network.get_classifier().out_features == 5
    assert network.head.drop.p == 0.3
    assert network.stages[-1][-1].drop_path.drop_prob == pytest.approx(0.2)
    # Arguments of the call come before those of the name.
    assert len(timm.create_model("nf_resnet200", width_factor=0.125, depths=[1, 1, 1, 1]).stages[1]) == 1
    features = timm.create_model("nf_resnet200", width_factor=0.125, features_only=True)
    assert features.feature_info.channels() == [8, 32, 64, 128, 256]


SMALL = {
    "bn_resnet26": {},
    "nf_resnet152": {"width_factor": 0.125},
    "dm_nfnet_f0_plus": {"width_factor": 0.125, "group_size": 8},
    "dm_nfnet_f7": {"width_factor": 0.0625, "group_size": 8},
}


IMAGES = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def narrow(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3, **SMALL[name])
    # Gains of 0, and statistics that no image has changed, would hide a mix-up.
    for parameter in network.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(IMAGES)
    return network.eval()


def config_by_hand(folder: Path, name: str, network: nn.Module) -> None:
    base, arguments = in_timm(name)
    preprocessing = {**timm.get_pretrained_cfg(name).to_dict(), "num_classes": 3}
    preprocessing.pop("architecture")
    config = {"architecture": base, "num_classes": 3, "model_args": arguments | SMALL[name]}
    (folder / "config.json").write_text(json.dumps(config | {"pretrained_cfg": preprocessing}))
    save_file(network.state_dict(), folder / "model.safetensors")


def config_by_timm(folder: Path, name: str, network: nn.Module) -> None:
    save_for_hf(network, folder, safe_serialization=True)


@pytest.mark.parametrize("save", [config_by_hand, config_by_timm])
@pytest.mark.parametrize("name", SMALL)
def test_timm_loads_what_was_saved(tmp_path: Path, name: str, save: object) -> None:
    network = narrow(name)
    save(tmp_path, name, network)
    assert not any(added in (tmp_path / "config.json").read_text() for added in ADDED)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert shapes(loaded) == shapes(network)
    with torch.no_grad():
        expected = network(IMAGES)
        assert (loaded(IMAGES) - expected).abs().max().item() == 0.0
    assert expected.std() > 0
