"""Folded, a network of any family answers as it did, from weights that are computed once."""

import copy
from typing import Any

import pytest
import timm
import torch
from timm.layers import StdConv2d, StdConv2dSame
from timm.models.nfnet import GammaAct, NormFreeBlock
from torch import Tensor, nn

from nfft.models import architectures, lora
from nfft.models.folding import STANDARDIZED, fold
from nfft.optim.ema import Ema

assert architectures.ADDED  # importing it adds them

NARROW: dict[str, Any] = {"channels": [16, 24, 32, 48], "depths": [1, 2, 1, 1]}
BOTTLENECKS = {**NARROW, "stem_chs": 16, "group_size": 4, "num_features": 64}
REGNET = {**NARROW, "num_features": 64}
SE = {"rd_ratio": 0.5, "add_maxpool": True}
NORMALIZER_FREE: dict[str, tuple[str, dict[str, Any]]] = {
    "NFNet-F": ("dm_nfnet_f0", BOTTLENECKS),
    "NFNet-F+": ("dm_nfnet_f0_plus", BOTTLENECKS),
    "NFNet-F dilated": ("dm_nfnet_f0", {**BOTTLENECKS, "output_stride": 8}),
    "NFNet-F without attention": ("dm_nfnet_f0", {**BOTTLENECKS, "attn_layer": None}),
    "NFNet-F without skip gains": ("dm_nfnet_f0", {**BOTTLENECKS, "skipinit": False}),
    "NFNet-F with ECA": ("dm_nfnet_f0", {**BOTTLENECKS, "attn_layer": "eca", "attn_kwargs": {}}),
    "NFNet-F with SE of its own": ("dm_nfnet_f0", {**BOTTLENECKS, "attn_kwargs": SE}),
    "NFNet-F with SiLU": ("dm_nfnet_f0", {**BOTTLENECKS, "act_layer": "silu"}),
    "NFNet-F of timm": ("nfnet_f0", BOTTLENECKS),
    "NFNet-L": ("nfnet_l0", BOTTLENECKS),
    "NFNet-L with ECA": ("eca_nfnet_l0", BOTTLENECKS),
    "RegNet": ("nf_regnet_b0", REGNET),
    "RegNet with ECA": ("nf_regnet_b0", {**REGNET, "attn_layer": "eca", "attn_kwargs": {}}),
    "RegNet with all scales": ("nf_regnet_b0", {**REGNET, "gamma_in_act": True, "skipinit": True}),
    "ResNet": ("nf_resnet26", {**NARROW, "stem_chs": 16}),
    "ResNet, deep stem": ("nf_resnet26", {**NARROW, "stem_chs": 16, "stem_type": "deep_pool", "gamma_in_act": True}),
    "ResNet, dilated": ("nf_resnet152", {**NARROW, "stem_chs": 16, "output_stride": 16}),
    "ResNet with SE": ("nf_seresnet26", {**NARROW, "stem_chs": 16}),
    "ResNet with ECA": ("nf_ecaresnet26", {**NARROW, "stem_chs": 16}),
    "timm's test network": ("test_nfnet", {}),
}
BLOCKS = {"channels": [16, 24, 32, 48], "layers": [1, 1, 1, 1]}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ResNet with batch normalisation": ("bn_resnet26", BLOCKS),
    "ResNet with both": ("resnetv2_50", {**BLOCKS, "conv_layer": StdConv2d}),
    "ResNet with both, SAME": ("resnetv2_50", {**BLOCKS, "conv_layer": StdConv2dSame}),
}
EVERY = {**NORMALIZER_FREE, **OTHERS}
CLASSES = 5
IMAGES = torch.randn(2, 3, 43, 50, generator=torch.Generator().manual_seed(0))


def network_of(family: str = "NFNet-F", **arguments: Any) -> nn.Module:
    """A network in which nothing is zero or one that could hide a mistake."""
    torch.manual_seed(0)
    name, small = EVERY[family]
    network = timm.create_model(name, num_classes=CLASSES, **{**small, **arguments})
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if key.endswith(("gain", "bias", "running_mean", "head.fc.weight")):
                tensor.add_(0.5 * torch.randn_like(tensor))
            elif key.endswith("running_var"):
                tensor.mul_(0.5 + torch.rand_like(tensor))
    return network.eval()


def small_change(tensor: Tensor) -> Tensor:
    return tensor + 0.1 * torch.randn_like(tensor) if tensor.is_floating_point() else tensor.clone()


@torch.no_grad()
def answers(network: Any, images: Tensor = IMAGES) -> dict[str, Tensor]:
    """All that timm's networks give for images."""
    features = network.forward_features(images)
    # timm before 1.0.31 gives none of NFNets.
    taps = network.forward_intermediates(images)[1] if hasattr(network, "forward_intermediates") else []
    return {
        "logits": network(images),
        "features": features,
        "pooled": network.forward_head(features, pre_logits=True),
        **{f"tap {index}": tap for index, tap in enumerate(taps)},
    }


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    """Within `tolerance` of the range of each."""
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        spread = float(tensor.max() - tensor.min())
        assert spread > 0.1
        torch.testing.assert_close(
            found[name], tensor, rtol=0, atol=tolerance * spread, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("family", EVERY)
def test_answers_stay(family: str, dtype: torch.dtype, tolerance: float) -> None:
    network, images = network_of(family).to(dtype), IMAGES.to(dtype)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold(network)
    assert_same(answers(folded, images), answers(network, images), tolerance)
    assert folded.num_features == network.num_features
    assert torch.equal(folded.get_classifier().weight, network.get_classifier().weight)
    assert torch.equal(fold(network)(images), folded(images))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("family", NORMALIZER_FREE)
def test_nothing_is_left_to_fold(family: str) -> None:
    folded = fold(network_of(family, drop_rate=0.1, drop_path_rate=0.1))
    assert not any(isinstance(module, (*STANDARDIZED, NormFreeBlock, nn.Dropout)) for module in folded.modules())
    assert not any(isinstance(each, GammaAct) for name, each in folded.named_modules() if name != "final_act")
    assert not any("gain" in name or "drop_path" in name for name, _ in folded.named_parameters())


@pytest.mark.parametrize("side", [32, 33, 47, 64])
def test_same_padding_goes_by_the_size_of_the_image(side: int) -> None:
    network, images = network_of().double(), torch.randn(1, 3, side, side + 3, dtype=torch.float64)
    assert_same(answers(fold(network), images), answers(network, images), 1e-12)


def test_it_is_for_evaluation_whatever_the_network_is_doing() -> None:
    network = network_of(drop_rate=0.5, drop_path_rate=0.5)
    wanted = answers(network)
    network.train().set_grad_checkpointing(True)
    folded = fold(network)
    assert network.training and network.grad_checkpointing
    assert not folded.grad_checkpointing and not any(module.training for module in folded.modules())
    assert not any(tensor.requires_grad for tensor in [*folded.parameters(), folded(IMAGES)])
    assert_same(answers(folded), wanted, 1e-5)


@pytest.mark.parametrize("family", ["NFNet-F", "RegNet", "ResNet", *OTHERS])
def test_given_tensors_are_folded_as_if_they_were_the_networks_own(family: str) -> None:
    network = network_of(family)
    ema, other = Ema(network, 0.9), copy.deepcopy(network)
    with torch.no_grad():
        other.load_state_dict({name: small_change(tensor) for name, tensor in other.state_dict().items()})
    for _ in range(3):
        ema.update(other)
    before, wanted = network(IMAGES), ema(network, IMAGES)
    found = fold(network, ema.average)(IMAGES)
    assert_same({"logits": found}, {"logits": wanted.detach()}, 1e-5)
    assert torch.equal(network(IMAGES), before)
    network.load_state_dict(ema.average)
    assert torch.equal(fold(network)(IMAGES), found)


def test_some_tensors_may_be_given() -> None:
    network = network_of()
    name = "stages.1.0.skipinit_gain"
    folded = fold(network, {name: torch.tensor(0.25)})
    network.load_state_dict({name: torch.tensor(0.25)}, strict=False)
    assert torch.equal(fold(network)(IMAGES), folded(IMAGES))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stem.conv9.weight", "stem.conv9.weight: .* has none of this name"),
        ("head.fc.bias", "expected the shape .5,.*2"),
    ],
)
def test_tensors_of_another_network(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fold(network_of(), {name: torch.zeros(2)})


def test_a_tensor_with_two_names() -> None:
    network = network_of()
    network.stages[0][0].conv1.bias = network.stages[0][0].conv2.bias
    assert torch.equal(fold(network, network.state_dict())(IMAGES), fold(network)(IMAGES))


def test_what_does_not_change_is_shared_and_takes_no_memory() -> None:
    network = network_of()
    given = {name: small_change(tensor) for name, tensor in network.state_dict().items() if "attn" in name}
    wanted = {each.data_ptr() for each in [*given.values(), network.head.fc.weight, network.head.fc.bias]}
    assert wanted <= {parameter.data_ptr() for parameter in fold(network, given).parameters()}


@pytest.mark.parametrize("family", OTHERS)
def test_a_copy_that_is_put_to_training_leaves_the_networks_statistics(family: str) -> None:
    network = network_of(family)
    wanted = network(IMAGES)
    fold(network).train()(IMAGES)
    assert torch.equal(network(IMAGES), wanted)


@pytest.mark.parametrize("family", ["NFNet-F", "NFNet-L with ECA", "RegNet", "ResNet"])
def test_half_precision(family: str) -> None:
    network = network_of(family)
    folded, wanted = fold(network), network(IMAGES)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        by_autocast = folded(IMAGES)
    assert by_autocast.dtype == torch.bfloat16
    for found in (by_autocast, folded.bfloat16()(IMAGES.bfloat16()), fold(network.bfloat16())(IMAGES.bfloat16())):
        assert_same({"logits": found.float()}, {"logits": wanted.detach()}, 0.05)


def test_the_order_of_axes_in_memory_stays() -> None:
    def last(network: nn.Module) -> list[bool]:
        weights = [each.weight for each in network.modules() if isinstance(each, nn.Conv2d)]
        return [w.is_contiguous(memory_format=torch.channels_last) for w in weights if w[0, 0].numel() > 1 < w.shape[1]]

    network = network_of()
    assert not any(last(fold(network)))
    network = network.to(memory_format=torch.channels_last)
    assert all(last(fold(network)))
    assert_same(answers(fold(network)), answers(network), 1e-5)


def test_features_alone() -> None:
    network = network_of(features_only=True)
    for found, wanted in zip(fold(network)(IMAGES), network(IMAGES), strict=True):
        assert_same({"": found}, {"": wanted.detach()}, 1e-5)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", ["NFNet-F", "RegNet", "ResNet with batch normalisation"])
def test_adapters_are_folded_with_what_they_change(family: str, dora: bool) -> None:
    network = network_of(family)
    bare = answers(network)
    lora.attach(network, lora.configure(network, rank=2, alpha=2, dropout=0.5, dora=dora, targets=None))
    layers = [layer for _, layer in lora.adapted(network)]
    with torch.no_grad():
        for layer in layers:
            for part in (layer.lora_B, layer.lora_magnitude_vector):
                for values in part.parameters():
                    values.add_(0.1 * torch.rand_like(values))
    network.eval()
    wanted = answers(network)
    assert_same(answers(fold(network.train())), wanted, 1e-5)
    assert not list(lora.adapted(fold(network)))
    for layer in layers:
        layer.enable_adapters(False)
    assert_same(answers(fold(network)), bare, 1e-5 if not dora else 1e-4)
    for layer in layers:
        layer.enable_adapters(True)
        layer.eval().merge()
    assert_same(answers(fold(network)), wanted, 1e-5)
    layers[0].enable_adapters(False)
    with pytest.raises(ValueError, match=r"expected an adapter of nfft.lora in use; got WeightSpaceConv2d"):
        fold(network)


def test_adapters_of_others_are_refused() -> None:
    from peft import LoraConfig, inject_adapter_in_model

    network = inject_adapter_in_model(LoraConfig(r=2, target_modules=["final_conv"]), network_of())
    with pytest.raises(ValueError, match=r"expected an adapter of nfft.lora in use; got Conv2d. Merge or remove it"):
        fold(network)


@pytest.mark.parametrize("family", ["NFNet-F", "RegNet", "ResNet with ECA"])
def test_exports_with_batches_of_any_size(family: str) -> None:
    folded = fold(network_of(family))
    batch = torch.export.Dim("batch", max=64)
    exported = torch.export.export(folded, (IMAGES,), dynamic_shapes=({0: batch},)).module()
    more = torch.cat([IMAGES, IMAGES + 1, IMAGES[:1]])
    torch.testing.assert_close(exported(more), folded(more))
