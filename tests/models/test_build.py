"""A saved network answers as it did before, wherever it is loaded; a new head starts as the paper's does."""

import json
import math
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform, resolve_data_config
from torch import nn

from nfft.data.decode import evaluation_view
from nfft.errors import UserError
from nfft.models.build import build_network, is_normalized, normalize_images, smallest_side
from nfft.models.checkpoint import open_checkpoint, random_checkpoint, saved_classes
from nfft.models.saving import save_network
from nfft.models.transforms import crop_share, squash_preprocessing

NAMES = ["ant", "bee", "$x_1$", "日本", "a|b"]


def names(classes: int) -> list[str]:
    return NAMES if classes == len(NAMES) else [f"class {index}" for index in range(classes)]


def scratch(architecture: str = "test_nfnet", classes: int = 5, **arguments: object) -> tuple:
    checkpoint = random_checkpoint(architecture, dict(arguments))
    torch.manual_seed(0)
    network = build_network(checkpoint, names(classes), dropout=0.3, stochastic_depth=0.2)
    return checkpoint, network.eval()


def saved(
    folder: Path, resolution: int = 64, margin: int = 7, architecture: str = "test_nfnet", **arguments: object
) -> nn.Module:
    checkpoint, network = scratch(architecture, **arguments)
    # Gains of 1 and biases of 0 would hide a mix-up.
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save_network(
        network,
        folder,
        checkpoint=checkpoint,
        classes=NAMES,
        preprocessing=squash_preprocessing(checkpoint, resolution, margin),
    )
    return network


IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def answers(network: nn.Module) -> torch.Tensor:
    return network.eval()(IMAGES.to(memory_format=torch.channels_last))


@torch.no_grad()
def answers_in_training(network: nn.Module) -> torch.Tensor:
    return network(IMAGES.repeat(8, 1, 1, 1))


def test_new_classifier_starts_as_in_the_paper() -> None:
    _, network = scratch(classes=1000)
    weight = network.head.fc.weight.detach()
    assert weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert abs(weight.mean().item()) < 1e-4
    # Uniform values of the same spread would end at 0.0173.
    assert weight.abs().max() > 0.035
    assert not network.head.fc.bias.any()


def test_classifier_is_replaced_only_when_the_classes_differ(tmp_path: Path) -> None:
    original = saved(tmp_path)
    checkpoint = open_checkpoint("net", tmp_path)
    assert saved_classes(checkpoint) == 5
    same = build_network(checkpoint, names(5), dropout=0, stochastic_depth=0)
    assert torch.equal(same.head.fc.weight, original.head.fc.weight)
    assert torch.equal(same.head.fc.bias, original.head.fc.bias)

    other = build_network(checkpoint, names(500), dropout=0, stochastic_depth=0)
    assert other.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not other.head.fc.bias.any()
    for name, parameter in original.named_parameters():
        if not name.startswith("head.fc"):
            assert torch.equal(other.get_parameter(name), parameter), name


@pytest.mark.parametrize("rates", [{"dropout": 0.5, "stochastic_depth": 0}, {"dropout": 0, "stochastic_depth": 0.5}])
def test_rates_reach_the_network(rates: dict) -> None:
    checkpoint = random_checkpoint("test_nfnet", {})
    network = build_network(checkpoint, names(5), **rates)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1)  # timm's residual branches begin at 0, so that it would not matter to drop them
    network.train()
    torch.manual_seed(0)
    noisy = [answers_in_training(network) for _ in range(2)]
    assert not torch.equal(*noisy)
    still = build_network(checkpoint, names(5), dropout=0, stochastic_depth=0).train()
    assert torch.equal(answers_in_training(still), answers_in_training(still))


@pytest.mark.parametrize(
    ("architecture", "arguments"), [("test_nfnet", {}), ("test_nfnet", {"skipinit": True}), ("test_resnet", {})]
)
def test_timm_loads_what_was_saved(tmp_path: Path, architecture: str, arguments: dict) -> None:
    network = saved(tmp_path, architecture=architecture, **arguments)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    loaded = loaded.to(memory_format=torch.channels_last)
    assert (answers(loaded) - answers(network)).abs().max().item() == 0.0
    again = build_network(open_checkpoint("net", tmp_path), names(5), dropout=0.5, stochastic_depth=0.1)
    assert (answers(again) - answers(network)).abs().max().item() == 0.0


def test_the_folder_holds_what_loaders_need_and_no_more(tmp_path: Path) -> None:
    network = saved(tmp_path, resolution=64, margin=7, skipinit=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "test_nfnet"
    assert config["num_classes"] == 5
    assert config["label_names"] == NAMES
    assert config["model_args"]["skipinit"] is True
    # transformers passes the first itself; the rates belong to training.
    assert not {"num_classes", "drop_rate", "drop_path_rate"} & config["model_args"].keys()
    assert config["pretrained_cfg"]["input_size"] == [3, 64, 64]
    assert config["pretrained_cfg"]["num_classes"] == 5
    assert not {"tag", "origin_url", "test_input_size", "license"} & config["pretrained_cfg"].keys()
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors.keys() == network.state_dict().keys()


@pytest.mark.parametrize(("resolution", "margin"), [(64, 7), (96, 32), (48, 0)])
def test_timm_prepares_images_as_it_was_evaluated(tmp_path: Path, resolution: int, margin: int) -> None:
    saved(tmp_path, resolution=resolution, margin=margin)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    transform = create_transform(**resolve_data_config(model=loaded))
    image = Image.effect_noise((130, 70), 80).convert("RGB")
    view = torch.from_numpy(evaluation_view(image, resolution, margin).copy()).permute(2, 0, 1)[None]
    source = loaded.pretrained_cfg
    mean, std = (torch.tensor(source[name]).view(3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(normalize_images(view, mean, std)[0], transform(image), rtol=1e-6, atol=1e-6)


def test_fine_tuning_what_was_fine_tuned_keeps_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    saved(tmp_path / "first", skipinit=True)
    checkpoint = open_checkpoint("net", tmp_path / "first")
    assert (checkpoint.train_side, checkpoint.test_side) == (64, 64)
    network = build_network(checkpoint, names(2), dropout=0.1, stochastic_depth=0.1)
    save_network(
        network,
        tmp_path / "second",
        checkpoint=checkpoint,
        classes=["a", "b"],
        preprocessing=squash_preprocessing(checkpoint, 32, 0),
    )
    config = json.loads((tmp_path / "second" / "config.json").read_text())
    assert config["model_args"]["skipinit"] is True
    assert config["label_names"] == ["a", "b"]
    loaded = timm.create_model(f"local-dir:{tmp_path / 'second'}", pretrained=True)
    assert torch.equal(answers(loaded.to(memory_format=torch.channels_last)), answers(network))


def test_labels_of_the_source_do_not_stay(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    saved(tmp_path / "first")
    checkpoint = open_checkpoint("net", tmp_path / "first")
    network = build_network(checkpoint, names(5), dropout=0, stochastic_depth=0)
    save_network(
        network,
        tmp_path / "second",
        checkpoint=checkpoint,
        classes=list("vwxyz"),
        preprocessing=squash_preprocessing(checkpoint, 32, 0),
    )
    text = (tmp_path / "second" / "config.json").read_text()
    assert json.loads(text)["label_names"] == list("vwxyz")
    assert not any(json.dumps(name) in text for name in NAMES)


def test_license_of_the_source_stays(tmp_path: Path) -> None:
    checkpoint, network = scratch()
    checkpoint.config["pretrained_cfg"]["license"] = "mit"
    network.pretrained_cfg["license"] = "mit"
    save_network(
        network, tmp_path, checkpoint=checkpoint, classes=NAMES, preprocessing=squash_preprocessing(checkpoint, 32, 0)
    )
    assert json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]["license"] == "mit"


def test_crop_share_is_exact() -> None:
    # timm resizes to floor(resolution / crop_pct).
    for resolution in range(8, 700):
        for margin in (*range(8), 16, 31, 32, 33, 64, 100):
            share = crop_share(resolution, margin)
            assert 0 < share <= 1
            assert math.floor(resolution / share) == resolution + margin


def test_normalize() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    mean, std = torch.tensor([0.5, 0.2, 0.0]).view(3, 1, 1), torch.tensor([0.5, 0.1, 2.0]).view(3, 1, 1)
    torch.testing.assert_close(normalize_images(images, mean, std).flatten(), torch.tensor([-1.0, 0.0, 0.5]))
    assert images.flatten().tolist() == [0, 51, 255]


@pytest.mark.parametrize(("architecture", "expected"), [("test_nfnet", False), ("test_resnet", True)])
def test_is_normalized(architecture: str, expected: bool) -> None:
    assert is_normalized(scratch(architecture)[1]) == expected


def test_smallest_side() -> None:
    assert smallest_side(scratch()[1]) == 32
    assert smallest_side(nn.Linear(2, 2)) == 1


def write_checkpoint(folder: Path, config: object = None, weights: bool = True) -> Path:
    default = {
        "architecture": "test_nfnet",
        "pretrained_cfg": {"input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    (folder / "config.json").write_text(json.dumps(default if config is None else config))
    if weights:
        save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "names no timm architecture"),
        ({"model_type": "bert"}, "names no timm architecture"),
        ({"architecture": "test_nfent"}, "no architecture 'test_nfent'; did you mean 'test_nfnet'"),
        ({"architecture": "test_nfnet", "pretrained_cfg": {}}, "input_size in the pretrained_cfg"),
        ({"architecture": "test_nfnet", "input_size": [3, 8, 8], "mean": [0] * 3, "std": 1}, "as std in .*; found 1"),
    ],
)  # fmt: skip
def test_refuses_a_config(tmp_path: Path, config: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_checkpoint("net", write_checkpoint(tmp_path, config))


def test_refuses_a_folder_without_config_or_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json is missing"):
        open_checkpoint("net", tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is not JSON"):
        open_checkpoint("net", tmp_path)
    write_checkpoint(tmp_path, weights=False)
    with pytest.raises(UserError, match="there are no weights"):
        open_checkpoint("net", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(UserError, match=r"found only pytorch_model\.bin, a pickle"):
        open_checkpoint("net", tmp_path)


def test_refuses_weights_that_do_not_fit(tmp_path: Path) -> None:
    checkpoint = open_checkpoint("net", write_checkpoint(tmp_path))
    with pytest.raises(UserError, match=r"the weights do not fit.*: final_conv.bias is missing; .* and \d+ more"):
        build_network(checkpoint, names(5), dropout=0, stochastic_depth=0)
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        build_network(checkpoint, names(5), dropout=0, stochastic_depth=0)


def test_refuses_arguments_that_the_architecture_does_not_take() -> None:
    with pytest.raises(UserError, match="Check --model-arg"):
        scratch(no_such_argument=1)
    with pytest.raises(UserError, match="no architecture 'nfnet_x'"):
        scratch("nfnet_x")
    with pytest.raises(UserError, match="num_classes=3 cannot be given"):
        scratch(num_classes=3)


def test_refuses_a_network_without_one_linear_classifier() -> None:
    with pytest.raises(UserError, match="expected a network with one linear classifier"):
        scratch("deit_tiny_distilled_patch16_224", depth=1)


def test_stochastic_depth_drops_or_keeps_whole_branches_as_they_are() -> None:
    torch.manual_seed(0)
    checkpoint = random_checkpoint("test_nfnet", {"depths": [1, 2, 1, 1], "skipinit": True})
    network = build_network(checkpoint, NAMES, dropout=0, stochastic_depth=0.5).train()
    blocks = [block for stage in network.stages for block in stage]
    assert [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    block = blocks[2]
    torch.nn.init.constant_(block.skipinit_gain, 0.7)
    images = torch.randn(400, block.conv1.in_channels, 3, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        drawn, whole = block(images), block.eval()(images)
    dropped = (drawn == images).flatten(1).all(1)
    kept = torch.isclose(drawn, whole, rtol=0, atol=1e-6).flatten(1).all(1)
    assert bool((dropped ^ kept).all()), "a branch is either gone or as large as without stochastic depth"
    assert dropped.float().mean().item() == pytest.approx(0.2, abs=0.06)


def test_networks_with_normalization_keep_timms_stochastic_depth() -> None:
    network = build_network(random_checkpoint("resnetv2_50", {}), NAMES, dropout=0, stochastic_depth=0.5)
    depths = [layer for layer in network.modules() if type(layer).__name__ == "DropPath"]
    assert max(layer.drop_prob for layer in depths) == 0.5 and all(layer.scale_by_keep for layer in depths)
