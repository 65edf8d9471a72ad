"""Adapters start at nothing, learn, and merge into the raw weights without changing an answer, on every family."""

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import nfft
from nfft import adapter, layout, lora, model
from nfft.errors import UserError
from nfft.groups import classifier

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
    optimizer = torch.optim.AdamW([each for each in network.parameters() if each.requires_grad], lr=1e-2)
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


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_from_nothing_to_a_merge_without_loss(name: str, dora: bool) -> None:
    network = network_of(name)
    before, frozen = answers(network), {key: tensor.clone() for key, tensor in network.state_dict().items()}
    attached(network, dora=dora)
    torch.testing.assert_close(answers(network), before, rtol=0, atol=1e-6 if dora else 0)
    start = float(F.cross_entropy(before, LABELS))
    assert learn(network) < start - 0.1
    learned = answers(network)
    layers = [layer for _, layer in lora.adapted(network)]
    for layer in layers:
        layer.enable_adapters(False)
    body = [key for key in frozen if not key.startswith(("head", "fc")) and "running" not in key and "num_b" not in key]
    for layer in layers:
        layer.enable_adapters(True)
        layer.merge()
    assert torch.equal(answers(network), learned), "merging adds what the forward pass added"
    for layer in layers:
        layer.unmerge()
    assert torch.equal(answers(network), learned)
    now = {key.replace("base_layer.", ""): tensor for key, tensor in network.state_dict().items()}
    assert all(torch.equal(now[key], frozen[key]) for key in body), "unmerged, the base is what it was"


def test_only_adapters_and_classifier_are_trained() -> None:
    network = attached(network_of("dm_nfnet_f0"), dora=True)
    trained = {name for name, each in network.named_parameters() if each.requires_grad}
    assert all(".lora_" in name or name.startswith("head.fc") for name in trained)
    assert {"head.fc.weight", "head.fc.bias"} < trained
    targets = {name for name, _ in lora.adapted(network)}
    assert any("attn_last.fc1" in name for name in targets) and "stem.conv1" in targets and "final_conv" in targets


def test_bf16_and_gradient_checkpointing_merge_without_loss() -> None:
    network = attached(network_of("dm_nfnet_f0"))
    network.set_grad_checkpointing(True)
    with torch.autocast("cpu", torch.bfloat16):
        learn(network)
        learned = answers(network)
        for _, layer in lora.adapted(network):
            layer.merge()
        assert torch.equal(answers(network), learned)


def test_compiles_whole() -> None:
    network = attached(network_of("dm_nfnet_f0"))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(IMAGES), answers(network))


def test_dropout_is_on_the_change_and_in_training_alone() -> None:
    network = attached(network_of("nf_resnet26"), dropout=0.5)
    for _, layer in lora.adapted(network):
        nn.init.normal_(layer.lora_B[lora.ADAPTER].weight, std=0.1)
    still, network = answers(network), network.train()
    assert not torch.equal(answers(network), answers(network))
    assert torch.equal(answers(network.eval()), still)


def test_two_adapters_add_up() -> None:
    from peft import inject_adapter_in_model

    network = network_of("test_nfnet")
    config = lora.configure(network, rank=2, alpha=2, dropout=0, dora=False, targets=None)
    config.modules_to_save = None
    inject_adapter_in_model(config, network, adapter_name="one")
    with pytest.warns(UserWarning, match="multiple adapters"):
        inject_adapter_in_model(config, network, adapter_name="two")
    layer = next(layer for _, layer in lora.adapted(network))
    for name in ("one", "two"):
        nn.init.normal_(layer.lora_B[name].weight)
    wanted = layer.base.weight + layer.get_delta_weight("one") + layer.get_delta_weight("two")
    torch.testing.assert_close(layer.changed(["one", "two"])["weight"], wanted)


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
        ({"rank": 0}, "method.rank must be from 1 to"),
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


def test_floors_let_b_move_as_far_as_agc_lets_the_weight() -> None:
    network = attached(network_of("dm_nfnet_f0"), alpha=8.0)
    floors = lora.floors(network)
    for _, layer in lora.adapted(network):
        b, a = layer.lora_B[lora.ADAPTER].weight, layer.lora_A[lora.ADAPTER].weight
        step = F.normalize(torch.randn_like(b), dim=1) * floors[b] * 0.01
        moved = (step @ a * layer.scaling[lora.ADAPTER]).norm(dim=1)
        assert bool((moved <= 0.01 * layer.base.weight.flatten(1).norm(dim=1) * 1.0001).all())


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A checkpoint of three classes."""
    source = layout.random_weights("dm_nfnet_f0", FAMILIES["dm_nfnet_f0"])
    network = model.build(source, list("abc"), dropout=0, stochastic_depth=0)
    (tmp_path / "base").mkdir()
    what = {"classes": list("abc"), "preprocessing": layout.squashed(source, 32, 4)}
    layout.save(network, tmp_path / "base", checkpoint=source, **what)
    return tmp_path / "base"


def adapter_of(base: Path, folder: Path, *, dora: bool = False) -> nn.Module:
    """Train an adapter for four classes, save it, and return the network with it."""
    checkpoint = layout.open_folder(str(base), base)
    names = list("wxyz")
    torch.manual_seed(1)
    network = model.build(checkpoint, names, dropout=0, stochastic_depth=0)
    config = lora.configure(network, rank=3, alpha=6, dropout=0, dora=dora, targets=None)
    lora.attach(network, config)
    learn(network)
    folder.mkdir()
    preprocessing = layout.squashed(checkpoint, 32, 4)
    adapter.save(network, folder, config=config, checkpoint=checkpoint, classes=names, preprocessing=preprocessing)
    return network


@pytest.mark.parametrize("dora", [False, True])
def test_saved_and_loaded_by_nfft_and_by_peft(base: Path, tmp_path: Path, dora: bool) -> None:
    from peft import LoraConfig, PeftModel

    trained = answers(adapter_of(base, tmp_path / "adapter", dora=dora))
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {"config.json", *layout.ADAPTER_FILES}
    loaded = nfft.AutoNFNet.from_pretrained(tmp_path / "adapter")
    assert loaded.labels == list("wxyz") and torch.equal(answers(loaded), trained)

    bare = nfft.AutoNFNet.from_pretrained(base, num_classes=4).network
    config = LoraConfig.from_pretrained(tmp_path / "adapter")
    config._register_custom_module(lora.LAYERS)
    by_peft = PeftModel.from_pretrained(copy.deepcopy(bare), tmp_path / "adapter", config=config).eval()
    assert torch.equal(answers(by_peft), trained)
    assert torch.equal(answers(by_peft.merge_and_unload()), trained)

    loaded.save_pretrained(tmp_path / "whole")
    assert torch.equal(answers(timm.create_model(f"local-dir:{tmp_path / 'whole'}", pretrained=True).eval()), trained)
    assert classifier(loaded.network).weight.shape[0] == 4


def test_peft_without_the_layer_fails_loudly(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    adapter_of(base, tmp_path / "adapter")
    bare = nfft.AutoNFNet.from_pretrained(base, num_classes=4).network
    with pytest.raises((ValueError, RuntimeError)), pytest.warns(UserWarning):
        PeftModel.from_pretrained(bare, tmp_path / "adapter")


def test_an_adapter_of_another_base_or_damaged(base: Path, tmp_path: Path) -> None:
    import json

    from safetensors.torch import load_file, save_file

    folder = tmp_path / "adapter"
    adapter_of(base, folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_A" in name)
    save_file({**tensors, name: torch.zeros(1, 1)}, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"the weights do not fit .*lora_A.weight must be"):
        nfft.AutoNFNet.from_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors")
    described = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**described, "peft_type": "LOHA"}))
    with pytest.raises(UserError, match="expected a LoRA adapter that nfft made; found 'LOHA'"):
        nfft.AutoNFNet.from_pretrained(folder)
    (folder / "adapter_config.json").write_text(json.dumps(described))
    weights = load_file(base / "model.safetensors")
    save_file({key: tensor + 1e-3 for key, tensor in weights.items()}, base / "model.safetensors")
    with pytest.raises(UserError, match="with other weights than those found here: their hashes differ"):
        nfft.AutoNFNet.from_pretrained(folder)
