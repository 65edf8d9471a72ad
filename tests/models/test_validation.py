"""What strangers put into a config.json or a weights file is refused with a reason, before anything is built of it."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import nfft
from nfft.errors import UserError

GOOD = {
    "architecture": "test_nfnet",
    "num_classes": 3,
    "label_names": ["a", "b", "c"],
    "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.9},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(timm.create_model("test_nfnet", num_classes=3).state_dict(), file)
    return file


def written(folder: Path, weights: Path, **changes: Any) -> Path:
    """A checkpoint's folder, with entries of its config changed; "pretrained_cfg" is changed entry by entry."""
    preprocessing = {**GOOD["pretrained_cfg"], **changes.pop("pretrained_cfg", {})}
    (folder / "config.json").write_text(json.dumps({**GOOD, "pretrained_cfg": preprocessing, **changes}))
    (folder / "model.safetensors").write_bytes(weights.read_bytes())
    return folder


def test_the_good_one_loads(tmp_path: Path, weights: Path) -> None:
    assert nfft.AutoNFNet.from_pretrained(written(tmp_path, weights)).labels == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "os.system"}, "timm has no architecture 'os.system'"),
        ({"architecture": "hf-hub:evil/model"}, "timm has no architecture"),
        ({"architecture": ["test_nfnet"]}, "names no timm architecture"),
        ({"num_classes": 10**12}, "num_classes in config.json must be from 1 to 1,000,000; found 1000000000000"),
        ({"num_classes": 0}, "num_classes in config.json must be from 1"),
        ({"num_classes": "3"}, "num_classes in config.json must be"),
        ({"num_classes": True}, "num_classes in config.json must be"),
        ({"label_names": {"0": "a"}}, "label_names in config.json must be a list of names"),
        ({"label_names": ["a", "b", 3]}, "label_names in config.json must be a list of names"),
        ({"label_names": ["a", "b"]}, "2 label_names for 3 classes"),
        ({"pretrained_cfg": {"input_size": [3, 10**6, 10**6]}}, "input_size in config.json must be .* up to 4096"),
        ({"pretrained_cfg": {"input_size": [3, -1, 32]}}, "input_size in config.json must be"),
        ({"pretrained_cfg": {"input_size": [3, 32.5, 32]}}, "input_size in config.json must be"),
        ({"pretrained_cfg": {"test_input_size": [3, 99999, 32]}}, "test_input_size in config.json must be"),
        ({"pretrained_cfg": {"mean": ["x"] * 3}}, "three numbers as mean"),
        ({"pretrained_cfg": {"mean": [0.5], "std": [0.2], "input_size": [1, 32, 32]}}, "of 1 channel, .* RGB only"),
        ({"pretrained_cfg": {"input_size": [13, 32, 32]}}, "it takes pictures of 13 channels"),
        ({"model_args": {"in_chans": 4}}, "it takes pictures of 4 channels, and nfft shows RGB only"),
        ({"pretrained_cfg": {"std": [0, 1, 1]}}, "std in config.json must be above 0"),
        ({"pretrained_cfg": {"std": [float("nan"), 1, 1]}}, "three numbers as std"),
        ({"pretrained_cfg": {"crop_pct": 1e-9}}, "crop_pct in config.json must be between"),
        ({"pretrained_cfg": {"interpolation": "x"}}, "interpolation in config.json must be one of timm's"),
        ({"pretrained_cfg": {"interpolation": ""}}, "interpolation in config.json must be one of timm's"),
        ({"pretrained_cfg": {"interpolation": None}}, "interpolation in config.json must be one of timm's"),
        ({"pretrained_cfg": {"interpolation": "random"}}, "interpolation in config.json must be one of timm's"),
        ({"pretrained_cfg": {"crop_mode": ["center"]}}, "crop_mode in config.json must be one of timm's"),
        ({"pretrained_cfg": {"test_crop_pct": "big"}}, "test_crop_pct in config.json must be between"),
        ({"pretrained_cfg": {"mean": [10**400, 0, 0]}}, "three numbers as mean"),
        ({"pretrained_cfg": {"std": [1e-300, 1, 1]}}, "std in config.json must be above 0"),
        ({"pretrained_cfg": {"license": ["mit"]}}, "license in config.json must be text"),
        ({"label_names": ["a", "b", "\ud800"]}, "label_names in config.json must be a list of names"),
        ({"model_args": {"depth": 5000}}, "absurd value: depth="),
        ({"model_args": ["depths"]}, "model_args in config.json must be names with values"),
        ({"model_args": {"checkpoint_path": "/tmp/evil.pth"}}, "checkpoint_path is refused"),
        ({"model_args": {"pretrained_cfg_overlay": {"file": "/tmp/evil.pth"}}}, "pretrained_cfg_overlay is refused"),
        ({"model_args": {"pretrained": True}}, "pretrained is refused"),
        ({"model_args": {"depths": [10**5] * 4}}, "absurd value: depths="),
        ({"model_args": {"channels": [10**9] * 4}}, "absurd value: channels="),
        ({"model_args": {"width_factor": 1e300}}, "absurd value: width_factor="),
        ({"model_args": {"act_layer": "x" * 10_000}}, "absurd value: act_layer="),
        ({"model_args": {"act_layer": "os.system"}}, r"cannot be made: .*Check model_args in its config.json"),
        ({"model_args": {"no_such_argument": 1}}, r"cannot be made: .*Check model_args in its config.json"),
        ({"model_args": {"width_factor": 50.0}}, r"the weights do not fit the network .* must be \[.*\] and is \["),
        ({"model_args": {"depths": [1, 1, 1, 2]}}, "the weights do not fit the network .*stages.3.1.* is missing"),
        ({"architecture": "test_resnet"}, "the weights do not fit the network"),
        ({"num_classes": 4, "label_names": list("abcd")}, r"head.fc.bias must be \[4\] and is \[3\]"),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, weights: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        nfft.AutoNFNet.from_pretrained(written(tmp_path, weights, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_args": {"device": "cuda:0"}}, "device is refused"),
        ({"model_args": {"std_conv_eps": -1.0}}, "std_conv_eps in config.json must be above 0 and at most 1"),
        ({"model_args": {"std_conv_eps": "x"}}, "std_conv_eps in config.json must be above 0 and at most 1"),
        ({"model_args": {"global_pool": ""}}, "cannot be used: .*Check model_args in its config.json"),
        ({"architecture": "x" * 100_000}, "timm has no architecture"),
        ({"pretrained_cfg": {"mean": [[[]] * 3]}}, "three numbers as mean"),
    ],
)
def test_odd_ones_are_refused_soon_and_in_short(
    tmp_path: Path, weights: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        nfft.AutoNFNet.from_pretrained(written(tmp_path, weights, **changes))
    assert len(str(refused.value)) < 1000


def test_lists_in_lists_are_refused(tmp_path: Path, weights: Path) -> None:
    folder, deep = written(tmp_path, weights), "[" * 500 + "]" * 500
    (folder / "config.json").write_text('{"architecture": "test_nfnet", "x": ' + deep + "}")
    with pytest.raises(UserError, match="too deep for any network"):
        nfft.AutoNFNet.from_pretrained(folder)


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path, weights: Path) -> None:
    huge = {name: torch.full_like(tensor, 3e38) for name, tensor in load_file(weights).items() if "gain" in name}
    model = nfft.AutoNFNet.from_pretrained(changed(tmp_path, weights, **huge))
    with pytest.raises(UserError, match="are no finite numbers: its weights are damaged, or too large"):
        model.predict(np.full((32, 32, 3), 200, np.uint8))


def changed(folder: Path, weights: Path, **tensors: torch.Tensor) -> Path:
    written(folder, weights)
    save_file({**load_file(weights), **tensors}, folder / "model.safetensors")
    return folder


def test_weights_of_another_kind_or_damaged(tmp_path: Path, weights: Path) -> None:
    cases = {
        "must be of real numbers and is I64": {"head.fc.bias": torch.zeros(3, dtype=torch.int64)},
        "../../etc/passwd is not part of it": {"../../etc/passwd": torch.zeros(1)},
        r"head.fc.bias must be \[3\] and is \[3, 1\]": {"head.fc.bias": torch.zeros(3, 1)},
        "damaged: head.fc.bias has values that are not finite": {"head.fc.bias": torch.tensor([0, np.nan, 0])},
    }
    for message, tensors in cases.items():
        with pytest.raises(UserError, match=message):
            nfft.AutoNFNet.from_pretrained(changed(tmp_path, weights, **tensors))
    half = {name: tensor.half() for name, tensor in load_file(weights).items()}
    save_file(half, tmp_path / "model.safetensors")
    loaded = nfft.AutoNFNet.from_pretrained(tmp_path)
    assert all(parameter.dtype == torch.float32 for parameter in loaded.parameters())


@pytest.mark.parametrize("damage", ["torn", "header of terabytes", "not a safetensors file"])
def test_a_damaged_file_is_a_sentence(tmp_path: Path, weights: Path, damage: str) -> None:
    whole = written(tmp_path, weights)
    content = weights.read_bytes()
    damaged = {
        "torn": content[:-1000],
        "header of terabytes": (2**42).to_bytes(8, "little") + content[8:],
        "not a safetensors file": b"\x80\x04\x95 a pickle, perhaps",
    }
    (whole / "model.safetensors").write_bytes(damaged[damage])
    with pytest.raises(UserError, match=r"model.safetensors is damaged"):
        nfft.AutoNFNet.from_pretrained(whole)


def test_a_config_of_brackets(tmp_path: Path, weights: Path) -> None:
    written(tmp_path, weights)
    (tmp_path / "config.json").write_text("[" * 200_000)
    with pytest.raises(UserError, match=r"config.json is not JSON"):
        nfft.AutoNFNet.from_pretrained(tmp_path)


def test_absurd_sizes_take_no_memory(tmp_path: Path, weights: Path) -> None:
    """A network of 200 GB that config.json describes is refused before a byte of it is there."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    huge = written(tmp_path, weights, model_args={"channels": [40_000] * 4, "num_features": 90_000})
    with pytest.raises(UserError, match="the weights do not fit"):
        nfft.AutoNFNet.from_pretrained(huge)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < 2**29


def test_a_pickle_is_never_opened(tmp_path: Path, weights: Path) -> None:
    written(tmp_path, weights)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "ran") + b"'\ntR.")
    with pytest.raises(UserError, match=r"found only pytorch_model.bin, a pickle"):
        nfft.AutoNFNet.from_pretrained(tmp_path)
    assert not (tmp_path / "ran").exists()
