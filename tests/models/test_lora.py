"""Adapters start at nothing, learn, and merge into the raw weights without changing an answer, on every family."""

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import timm
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, inject_adapter_in_model
from safetensors.torch import load_file, save_file
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame
from torch import Tensor, nn

import nfft
from nfft.errors import UserError
from nfft.models import lora
from nfft.models.adapter import save_adapter
from nfft.models.build import build_network
from nfft.models.checkpoint import ADAPTER_FILES, open_checkpoint, random_checkpoint
from nfft.models.saving import save_network
from nfft.models.transforms import squash_preprocessing
from nfft.optim.agc import EPS, clip_gradients, unit_norm
from nfft.optim.param_groups import classifier

NARROW = {"channels": [16, 24, 32, 48], "depths": [1, 2, 1, 1]}
FAMILIES = {
    "test_nfnet": {},
    "nf_resnet26": {**NARROW, "stem_chs": 16},
    "dm_nfnet_f0": {**NARROW, "stem_chs": 16, "group_size": 4, "num_features": 64},
    "eca_nfnet_l0": {**NARROW, "stem_chs": 32, "group_size": 8, "num_features": 64},
    "nf_regnet_b0": {**NARROW, "num_features": 64},
    "resnetv2_50": {"channels": [16, 24, 32, 48], "layers": [1, 1, 1, 1]},
}
CLASSES = 4
IMAGES = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % CLASSES


def network_of(name: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=CLASSES, **{**FAMILIES[name], **arguments})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network.eval()


def attached(network: nn.Module, **settings: Any) -> nn.Module:
    given = {"rank": 4, "alpha": 4.0, "dropout": 0.0, "dora": False, "targets": None, **settings}
    lora.attach(network, lora.configure(network, **given))
    return network


def learn(network: nn.Module, steps: int = 12) -> float:
    """Train what can be trained; returns the loss that is left."""
    optimizer = torch.optim.AdamW([parameter for parameter in network.parameters() if parameter.requires_grad], lr=1e-2)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(network(IMAGES), LABELS).backward()
        optimizer.step()
    network.eval()
    return float(F.cross_entropy(answers(network), LABELS))


@torch.no_grad()
def answers(network: nn.Module) -> Tensor:
    return network(IMAGES)


CONVOLUTIONS: dict[str, Callable[[], nn.Conv2d]] = {
    "standardised": lambda: ScaledStdConv2d(8, 12, 3),
    "grouped": lambda: ScaledStdConv2d(8, 12, 3, groups=4),
    "depthwise": lambda: ScaledStdConv2d(8, 8, 3, stride=2, groups=8, gamma=1.7),
    "dilated": lambda: ScaledStdConv2d(8, 12, 3, dilation=2, gamma=1.7, eps=1e-5),
    "strided, SAME": lambda: ScaledStdConv2dSame(8, 12, 3, stride=2),
    "dilated, grouped, SAME": lambda: ScaledStdConv2dSame(8, 12, 3, stride=2, dilation=3, groups=2, bias=False),
    "of squeeze-and-excite": lambda: nn.Conv2d(8, 12, 1),
    "plain, dilated": lambda: nn.Conv2d(8, 12, 3, padding=2, dilation=2, groups=2, bias=False),
}
PIXELS = torch.randn(2, 8, 11, 14, generator=torch.Generator().manual_seed(0))


def layer_of(kind: str, dora: bool, dtype: torch.dtype = torch.float32) -> lora.WeightSpaceConv2d:
    """A convolution of this kind with an adapter that changes nothing yet."""
    torch.manual_seed(0)
    base = CONVOLUTIONS[kind]().to(dtype)
    if hasattr(base, "gain"):
        nn.init.uniform_(base.gain, 0.5, 1.5)
    return lora.WeightSpaceConv2d(base, lora.ADAPTER, config=LoraConfig(use_dora=dora), r=3, lora_alpha=6).eval()


def disturb(layer: lora.WeightSpaceConv2d, adapter: str = lora.ADAPTER) -> None:
    """Give an adapter numbers such as training might."""
    nn.init.normal_(layer.lora_B[adapter].weight, std=0.2)
    if layer.use_dora[adapter]:
        with torch.no_grad():
            layer.lora_magnitude_vector[adapter].weight.mul_(torch.rand(layer.base.out_channels) + 0.5)


def by_formula(layer: lora.WeightSpaceConv2d) -> np.ndarray:
    """What the layer should answer to PIXELS: the formulas of the papers in float64, one kernel position at a time."""
    base, parts = layer.base, {name: tensor.double().numpy() for name, tensor in layer.state_dict().items()}
    a, b = (parts[f"lora_{factor}.default.weight"] for factor in "AB")
    magnitude = parts.get("lora_magnitude_vector.default.weight")
    rows = parts["base_layer.weight"].reshape(len(b), -1) + 6 / 3 * b @ a
    if "base_layer.gain" in parts:  # arXiv 2101.08692, equation 2
        gain = parts["base_layer.gain"].reshape(-1, 1) * (1 if magnitude is None else magnitude[:, None])
        gamma = base.scale * math.sqrt(rows.shape[1])
        deviation = np.sqrt(rows.var(axis=1, keepdims=True) + base.eps)
        rows = gain * gamma * (rows - rows.mean(axis=1, keepdims=True)) / deviation / math.sqrt(rows.shape[1])
    elif magnitude is not None:  # arXiv 2402.09353, equation 5
        rows = magnitude[:, None] * rows / np.linalg.norm(rows, axis=1, keepdims=True)
    weight = rows.reshape(base.weight.shape)

    (size, _), (stride, _), (step, _) = base.kernel_size, base.stride, base.dilation
    reach, pixels, pads = (size - 1) * step, PIXELS.double().numpy(), []
    for side in pixels.shape[2:]:
        both = max(0, (math.ceil(side / stride) - 1) * stride + reach + 1 - side)
        pads.append((both // 2, both - both // 2) if hasattr(base, "same_pad") else 2 * base.padding[:1])
    pixels = np.pad(pixels, [(0, 0), (0, 0), *pads])
    height, width = ((side - reach - 1) // stride + 1 for side in pixels.shape[2:])
    groups = np.split(pixels, base.groups, axis=1)
    answer: Any = 0
    for row in range(size):
        for column in range(size):
            rows_seen = slice(row * step, row * step + stride * (height - 1) + 1, stride)
            columns_seen = slice(column * step, column * step + stride * (width - 1) + 1, stride)
            own = np.split(weight[:, :, row, column], base.groups)
            seen = [group[:, :, rows_seen, columns_seen] for group in groups]
            answer += np.concatenate([np.einsum("oi,nihw->nohw", *pair) for pair in zip(own, seen, strict=True)], 1)
    return answer + parts.get("base_layer.bias", np.zeros(len(b))).reshape(-1, 1, 1)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
@torch.no_grad()
def test_any_convolution_is_what_the_papers_say(kind: str, dora: bool) -> None:
    layer = layer_of(kind, dora)
    without = layer.base(PIXELS)
    assert torch.equal(layer(PIXELS), without), "the first change is zero"
    disturb(layer)
    changed = layer(PIXELS)
    np.testing.assert_allclose(changed.numpy(), by_formula(layer), rtol=0, atol=2e-5)
    assert (changed - without).abs().max() > 0.1
    layer.enable_adapters(False)
    assert torch.equal(layer(PIXELS), without)
    layer.enable_adapters(True)
    assert torch.equal(layer(PIXELS), changed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
@torch.no_grad()
def test_any_convolution_merges_to_the_bit(kind: str, dora: bool, dtype: torch.dtype) -> None:
    layer, pixels = layer_of(kind, dora, dtype), PIXELS.to(dtype)
    disturb(layer)
    before, changed, without = copy.deepcopy(layer.base.state_dict()), layer(pixels), layer.base(pixels)
    layer.merge(safe_merge=True)
    assert torch.equal(layer(pixels), changed) and torch.equal(layer.base(pixels), changed)
    layer.enable_adapters(False)
    assert torch.equal(layer(pixels), without), "disabled, what was merged is taken back"
    layer.enable_adapters(True)
    assert torch.equal(layer(pixels), changed)
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.base.state_dict().items())


def test_a_unit_of_zeros_stays_finite() -> None:
    layer = layer_of("of squeeze-and-excite", dora=True)
    with torch.no_grad():
        layer.base.weight[0] = 0
        layer.lora_magnitude_vector[lora.ADAPTER].weight[0] = 0
    layer(PIXELS).square().sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in layer.parameters() if parameter.grad is not None)


def test_merging_what_is_not_finite() -> None:
    layer = layer_of("standardised", dora=False)
    nn.init.constant_(layer.lora_B[lora.ADAPTER].weight, math.inf)
    before = layer.base.weight.clone()
    with pytest.raises(ValueError, match="the adapter default has values that are not finite"):
        layer.merge(safe_merge=True)
    assert torch.equal(layer.base.weight, before) and not layer.merged


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_from_nothing_to_a_merge_without_loss(name: str, dora: bool) -> None:
    network = network_of(name)
    before, frozen = answers(network), {key: tensor.clone() for key, tensor in network.state_dict().items()}
    attached(network, dora=dora)
    assert torch.equal(answers(network), before), "the first change is zero"
    start = float(F.cross_entropy(before, LABELS))
    assert learn(network) < start - 0.1
    learned = answers(network)
    layers = [layer for _, layer in lora.adapted(network)]
    body = [key for key in frozen if not key.startswith(("head", "fc")) and "running" not in key and "num_b" not in key]
    for layer in layers:
        layer.merge()
    assert torch.equal(answers(network), learned), "merging adds what the forward pass added"
    for layer in layers:
        layer.unmerge()
    assert torch.equal(answers(network), learned)
    now = {key.replace("base_layer.", ""): tensor for key, tensor in network.state_dict().items()}
    assert all(torch.equal(now[key], frozen[key]) for key in body), "unmerged, the base is what it was"


def test_only_adapters_and_classifier_are_trained() -> None:
    network = attached(network_of("dm_nfnet_f0"), dora=True)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert all(".lora_" in name or name.startswith("head.fc") for name in trained)
    assert {"head.fc.weight", "head.fc.bias"} < trained
    targets = {name for name, _ in lora.adapted(network)}
    assert any("attn_last.fc1" in name for name in targets) and "stem.conv1" in targets and "final_conv" in targets


def test_disabled_the_body_is_that_of_the_checkpoint() -> None:
    network = network_of("dm_nfnet_f0")
    with torch.no_grad():
        before = network.forward_features(IMAGES)
    learn(attached(network, dora=True))
    with torch.no_grad():
        learned = network.forward_features(IMAGES)
        for enabled, expected in ((False, before), (True, learned)):
            for _, layer in lora.adapted(network):
                layer.enable_adapters(enabled)
            assert torch.equal(network.forward_features(IMAGES), expected)


def gradients(network: nn.Module, call: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Of what is trained, with dropout drawn from one seed."""
    torch.manual_seed(0)
    network.zero_grad()
    F.cross_entropy(call(IMAGES), LABELS).backward()
    return {name: parameter.grad.clone() for name, parameter in network.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("targets", [None, "stages.2.*"])
def test_gradient_checkpointing_changes_no_gradient(targets: str | None) -> None:
    network = attached(network_of("dm_nfnet_f0"), targets=targets, dropout=0.3).train()
    for _, layer in lora.adapted(network):
        disturb(layer)
    kept = gradients(network, network)
    network.set_grad_checkpointing(True)
    recomputed = gradients(network, network)
    assert all(float(gradient.abs().max()) > 0 for gradient in kept.values())
    assert all(torch.equal(recomputed[name], gradient) for name, gradient in kept.items())


def test_bf16_and_gradient_checkpointing_merge_without_loss() -> None:
    network = attached(network_of("dm_nfnet_f0"))
    network.set_grad_checkpointing(True)
    with torch.autocast("cpu", torch.bfloat16):
        learn(network)
        learned = answers(network)
        for _, layer in lora.adapted(network):
            layer.merge()
        assert torch.equal(answers(network), learned)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), [("dm_nfnet_f0", {}), ("test_nfnet", {"dora": True, "dropout": 0.3})])
def test_compiles_whole(name: str, settings: dict[str, Any]) -> None:
    network = attached(network_of(name), **settings).train()
    for _, layer in lora.adapted(network):
        disturb(layer)
    plain = gradients(network, network)
    compiled = gradients(network, torch.compile(network, backend="eager", fullgraph=True))
    for name, gradient in plain.items():
        torch.testing.assert_close(compiled[name], gradient)


def test_dropout_is_on_the_change_and_in_training_alone() -> None:
    layer = layer_of("standardised", dora=False)
    layer.update_layer(lora.ADAPTER, r=3, lora_alpha=6, config=LoraConfig(lora_dropout=0.25))
    disturb(layer)
    weight, whole = layer.base.weight, layer.get_delta_weight(lora.ADAPTER)
    assert torch.equal(layer.eval().changed([lora.ADAPTER])["weight"], weight + whole)
    part = layer.train().changed([lora.ADAPTER])["weight"] - weight
    left_out = part == 0
    assert 0.15 < left_out.float().mean() < 0.35
    torch.testing.assert_close(part[~left_out], whole[~left_out] / 0.75)
    assert torch.equal(layer.get_delta_weight(lora.ADAPTER), whole), "what peft reads is all of it"
    layer.merge()
    assert layer.training and torch.equal(weight, layer._before["weight"] + whole), "merged whole, in training too"


def test_two_adapters_add_up() -> None:
    network = network_of("test_nfnet")
    what: dict[str, Any] = {"rank": 2, "alpha": 2, "dropout": 0, "dora": False}
    everywhere, narrow = (lora.configure(network, targets=targets, **what) for targets in (None, "conv2"))
    everywhere.modules_to_save = narrow.modules_to_save = None
    inject_adapter_in_model(everywhere, network, adapter_name="one")
    with pytest.warns(UserWarning, match="multiple adapters"):
        inject_adapter_in_model(narrow, network, adapter_name="two")
    layers = dict(lora.adapted(network.eval()))
    second = [name for name in layers if name.endswith("conv2")]
    assert {name for name, layer in layers.items() if "two" in layer.lora_A} == set(second)
    for layer in layers.values():
        for name in layer.lora_A:
            disturb(layer, name)
    layer = layers[second[0]]
    expected = layer.base.weight + layer.get_delta_weight("one") + layer.get_delta_weight("two")
    torch.testing.assert_close(layer.changed(["one", "two"])["weight"], expected)

    said = {}
    for active in (["one"], ["two"], ["one", "two"]):
        for layer in layers.values():
            layer.set_adapter(active)
        said[" ".join(active)] = answers(network)
    assert not any(torch.equal(said[one], said[other]) for one, other in (("one", "two"), ("one", "one two")))
    for layer in layers.values():
        layer.merge(adapter_names=["one"])
    assert torch.equal(answers(network), said["one"])
    with pytest.warns(UserWarning, match="additionally merging two"):
        for layer in layers.values():
            layer.merge()
    assert torch.equal(answers(network), said["one two"])
    assert [name for name, layer in layers.items() if layer.merged_adapters == ["one", "two"]] == second
    for layer in layers.values():
        layer.unmerge()
    assert torch.equal(answers(network), said["one two"])


def test_ranks_are_what_each_weight_can_have() -> None:
    network = attached(network_of("nf_regnet_b0"), rank=24)
    ranks = {name: layer.r[lora.ADAPTER] for name, layer in lora.adapted(network)}
    highest = {name: min(layer.base.weight.flatten(1).shape) for name, layer in lora.adapted(network)}
    assert ranks == {name: min(24, high) for name, high in highest.items()}
    assert len(set(ranks.values())) > 1
    assert all(layer.scaling[lora.ADAPTER] == 4 / 24 for _, layer in lora.adapted(network))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "method.rank must be from 1 to 32 for these weights; got 0"),
        ({"rank": -8}, "method.rank must be from 1 to"),
        ({"rank": 10_000}, "method.rank must be from 1 to 32 for these weights; got 10000"),
        ({"targets": "conw1"}, "no convolution matches 'conw1'; did you mean 'conv1'"),
        ({"targets": "conv1,nothing*"}, r"no convolution matches 'nothing\*'"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        attached(network_of("nf_resnet26"), **settings)


def test_targets_by_pattern() -> None:
    network = attached(network_of("dm_nfnet_f0"), targets="conv1, stages.3.*.fc?")
    names = {name for name, _ in lora.adapted(network)}
    assert names == {name for name in names if name.endswith("conv1") or name.startswith("stages.3.0.attn_last.fc")}
    assert "stages.3.0.attn_last.fc2" in names and "stem.conv1" in names


def test_floors_of_units_of_zeros_are_the_papers_eps() -> None:
    network = attached(network_of("nf_resnet26"), alpha=2.0)
    layer = next(layer for _, layer in lora.adapted(network))
    with torch.no_grad():
        layer.base.weight[0] = 0
    a, b = layer.lora_A[lora.ADAPTER].weight, layer.lora_B[lora.ADAPTER].weight
    floor = lora.floors(network)[b]
    assert floor.shape == (len(b), 1)
    assert float(floor[0]) == pytest.approx(EPS / (float(a.detach().norm()) * 2 / 4))


@pytest.mark.parametrize("rank", [1, 4])
def test_floors_let_b_move_as_far_as_agc_lets_the_weight(rank: int) -> None:
    network = attached(network_of("dm_nfnet_f0"), rank=rank, alpha=8.0)
    floors = lora.floors(network)
    for _, layer in lora.adapted(network):
        b, a = layer.lora_B[lora.ADAPTER].weight, layer.lora_A[lora.ADAPTER].weight
        assert floors[b].numel() == unit_norm(b).numel(), "one for each unit"
        # Of rank 1, B is a vector and a single unit: what AGC allows is then the move of the whole weight.
        axes = 1 if rank > 1 else (0, 1)
        b.grad = 1e6 * torch.randn_like(b)
        clip_gradients([b], 0.01, floors=floors)
        moved = (b.grad @ a * layer.scaling[lora.ADAPTER]).norm(dim=axes)
        assert bool((moved <= 0.01 * layer.base.weight.flatten(1).norm(dim=axes) * 1.0001).all())


def base_of(name: str, folder: Path) -> Path:
    """A checkpoint of three classes."""
    source = random_checkpoint(name, FAMILIES[name])
    network = build_network(source, list("abc"), dropout=0, stochastic_depth=0)
    folder.mkdir()
    what: dict[str, Any] = {"classes": list("abc"), "preprocessing": squash_preprocessing(source, 32, 4)}
    save_network(network, folder, checkpoint=source, **what)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return base_of("dm_nfnet_f0", tmp_path / "base")


def adapter_of(base: Path, folder: Path, *, dora: bool = False) -> nn.Module:
    """Train an adapter for four classes, save it, and return the network with it."""
    checkpoint = open_checkpoint(str(base), base)
    names = list("wxyz")
    torch.manual_seed(1)
    network = build_network(checkpoint, names, dropout=0, stochastic_depth=0)
    config = lora.configure(network, rank=3, alpha=6, dropout=0, dora=dora, targets=None)
    lora.attach(network, config)
    learn(network)
    folder.mkdir()
    preprocessing = squash_preprocessing(checkpoint, 32, 4)
    save_adapter(network, folder, config=config, checkpoint=checkpoint, classes=names, preprocessing=preprocessing)
    return network


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("name", ["dm_nfnet_f0", "resnetv2_50"])
def test_saved_and_loaded_by_nfft_and_by_peft(name: str, tmp_path: Path, dora: bool) -> None:
    base = base_of(name, tmp_path / "base")
    trained = answers(adapter_of(base, tmp_path / "adapter", dora=dora))
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {"config.json", *ADAPTER_FILES}
    loaded = nfft.AutoNFNet.from_pretrained(tmp_path / "adapter")
    assert loaded.labels == list("wxyz") and torch.equal(answers(loaded), trained)

    bare = nfft.AutoNFNet.from_pretrained(base, num_classes=4).network
    config = LoraConfig.from_pretrained(tmp_path / "adapter")
    assert config.base_model_name_or_path == str(base)
    assert bool(config.rank_pattern) == (name == "dm_nfnet_f0"), "some weights have less than the rank"
    config._register_custom_module(lora.LAYERS)
    by_peft = PeftModel.from_pretrained(copy.deepcopy(bare), tmp_path / "adapter", config=config).eval()
    assert torch.equal(answers(by_peft), trained)
    assert torch.equal(answers(by_peft.merge_and_unload()), trained)

    loaded.save_pretrained(tmp_path / "whole")
    assert torch.equal(answers(timm.create_model(f"local-dir:{tmp_path / 'whole'}", pretrained=True).eval()), trained)
    assert classifier(loaded.network).weight.shape[0] == 4


def test_peft_without_the_layer_fails_loudly(base: Path, tmp_path: Path) -> None:
    adapter_of(base, tmp_path / "adapter")
    bare = nfft.AutoNFNet.from_pretrained(base, num_classes=4).network
    with pytest.raises((ValueError, RuntimeError)), pytest.warns(UserWarning):
        PeftModel.from_pretrained(bare, tmp_path / "adapter")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adapter, beside that of its base."""
    folder = tmp_path_factory.mktemp("sound")
    adapter_of(base_of("dm_nfnet_f0", folder / "base"), folder / "adapter")
    return folder / "adapter"


@pytest.fixture
def spoilt(sound: Path, tmp_path: Path) -> Path:
    """A copy of it to be spoilt."""
    return Path(shutil.copytree(sound, tmp_path / "adapter"))


def test_an_adapter_of_another_base_or_damaged(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    adapter_of(base, folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_A" in name)
    save_file({**tensors, name: torch.zeros(1, 1)}, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"the weights do not fit .*lora_A.weight must be"):
        nfft.AutoNFNet.from_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors")
    weights = load_file(base / "model.safetensors")
    save_file({key: tensor + 1e-3 for key, tensor in weights.items()}, base / "model.safetensors")
    with pytest.raises(UserError, match="with other weights than those found here: their hashes differ"):
        nfft.AutoNFNet.from_pretrained(folder)


def test_a_base_in_a_folder_is_found_from_anywhere(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trained = answers(adapter_of(Path("base"), tmp_path / "adapter"))
    monkeypatch.chdir("/")
    assert torch.equal(answers(nfft.AutoNFNet.from_pretrained(tmp_path / "adapter")), trained)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "LOHA"}, "expected a LoRA adapter that nfft made; found 'LOHA'"),
        ({"peft_type": "IA3", "r": None}, "expected a LoRA adapter that nfft made; found 'IA3'. .* lose what"),
        ({"r": "8"}, "adapter_config.json is damaged: expected names of layers, with ranks and factors"),
        ({"r": True}, "adapter_config.json is damaged"),
        ({"r": 10**400}, "the rank must be from 1 to"),
        ({"lora_alpha": math.nan}, "adapter_config.json is damaged"),
        ({"lora_alpha": 1e300}, "adapter_config.json is damaged"),
        ({"rank_pattern": {"(a+)+$": 3}}, "adapter_config.json is damaged"),
        ({"rank_pattern": ["stem"]}, "adapter_config.json is damaged or not peft's"),
        ({"alpha_pattern": {"stem.conv1": "1"}}, "adapter_config.json is damaged"),
        ({"target_modules": "all-linear"}, "adapter_config.json is damaged"),
        (
            {"target_modules": ["head.fc"], "rank_pattern": {}, "alpha_pattern": {}},
            "adapters are for convolutions, .* head.fc is targeted",
        ),
        ({"target_modules": ["absent"]}, "these adapters do not fit NormFreeNet: Target modules .*absent.* not found"),
    ],
)
def test_an_adapter_of_a_stranger(spoilt: Path, changes: dict[str, Any], message: str) -> None:
    file = spoilt / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(UserError, match=message):
        nfft.AutoNFNet.from_pretrained(spoilt)


@pytest.mark.parametrize("part", ["lora_B", "head.fc.bias"])
def test_an_adapter_that_is_not_finite(spoilt: Path, part: str) -> None:
    file = spoilt / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if part in name)
    save_file({**tensors, name: tensors[name] * math.inf}, file)
    with pytest.raises(UserError, match=f"the adapter is damaged: {name} has values that are not finite"):
        nfft.AutoNFNet.from_pretrained(spoilt)


def test_an_adapter_whose_product_is_not_finite(spoilt: Path) -> None:
    file = spoilt / "adapter_model.safetensors"
    save_file({n: t * (1e30 if ".lora_" in n else 1) for n, t in load_file(file).items()}, file)
    with pytest.raises(UserError, match=r"the adapter is damaged: at stem.conv1, .* not finite"):
        nfft.AutoNFNet.from_pretrained(spoilt)


TARGETS = r".*conv\d"
PEFTS = [
    peft.LoraConfig(target_modules=TARGETS), peft.LoraConfig(target_modules=TARGETS, use_dora=True),
    peft.AdaLoraConfig(target_modules=TARGETS, total_step=9), peft.BOFTConfig(target_modules=TARGETS),
    peft.IA3Config(target_modules=TARGETS, feedforward_modules=[]), peft.LoHaConfig(target_modules=TARGETS),
    peft.LoKrConfig(target_modules=TARGETS), peft.OFTConfig(target_modules=TARGETS),
    peft.VeraConfig(target_modules=TARGETS),
]  # fmt: skip


@pytest.mark.parametrize("config", PEFTS, ids=lambda config: type(config).__name__)
def test_layers_of_pefts_own_are_refused(config: peft.PeftConfig) -> None:
    network = network_of("nf_resnet26")
    before = answers(network)
    with pytest.raises(UserError, match=r"peft's own layers lose 80 to 100 % .*_register_custom_module"):
        lora.attach(network, config)
    assert torch.equal(answers(network), before) and not list(lora.adapted(network))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' has no meaning for convolutions here"),
        ({"lora_bias": True}, "lora_bias=True has no meaning"),
        ({"bias": "all"}, "bias='all' has no meaning"),
        ({"r": 0}, "do not fit NormFreeNet: the rank must be from 1 to"),
        ({"r": 999}, "the rank must be from 1 to 16 for a weight of 16 x 147; got 999"),
        ({"target_modules": "head.fc"}, "the classifier is trained whole; head.fc is targeted"),
    ],
)
def test_what_peft_may_ask_for_and_this_layer_does_not_do(settings: dict[str, Any], message: str) -> None:
    config = LoraConfig(**{"target_modules": r".*conv\d?", **settings})
    config._register_custom_module(lora.LAYERS)
    with pytest.raises(UserError, match=message):
        lora.attach(network_of("nf_resnet26"), config)


def test_dora_needs_units_with_a_length() -> None:
    network = timm.create_model("resnetv2_50x1_bit", num_classes=CLASSES, channels=[128] * 4, stem_chs=32)
    with pytest.raises(UserError, match="DoRA trains the length of a unit, and StdConv2d takes it away"):
        attached(network, dora=True)
