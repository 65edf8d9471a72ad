"""`nfft export`: files that answer as the network does in other runtimes, and say how to be used."""

import argparse
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from torch import Tensor, nn

from nfft import AutoNFNet
from nfft.cli import export
from nfft.export import formats
from nfft.export.formats import FACTS, find_format
from nfft.export.formats import onnx as onnx_format
from nfft.export.formats import torch as torch_format
from nfft.models.build import build_network
from nfft.models.checkpoint import DEFAULT_PREPROCESSING, random_checkpoint
from nfft.models.saving import save_network
from nfft.models.transforms import squash_preprocessing, stored_preprocessing

SMALL = {"channels": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "stem_chs": 16, "group_size": 4, "num_features": 64}
SIDES = {"run": 32, "same": 47}
LABELS = ["ant", "bee", "straße"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def saved(folder: Path, architecture: str, arguments: dict[str, Any], preprocessing: dict[str, Any]) -> Path:
    """A random network in which nothing is zero, as a run leaves it."""
    torch.manual_seed(0)
    source = random_checkpoint(architecture, arguments)
    network = build_network(source, LABELS, dropout=0, stochastic_depth=0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("gain", "bias", "head.fc.weight")):
                tensor.add_(0.5 * torch.randn_like(tensor))
    folder.mkdir()
    save_network(network, folder, checkpoint=source, classes=LABELS, preprocessing={**preprocessing})
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """timm's small test network, squashed to 34 px, 32 of them cropped."""
    source = random_checkpoint("test_nfnet", {})
    return saved(tmp_path / "run", "test_nfnet", {}, squash_preprocessing(source, 32, 2))


@pytest.fixture
def same(tmp_path: Path) -> Path:
    """A small network of the paper's, whose convolutions pad by the size of what they see."""
    kept = {**DEFAULT_PREPROCESSING, "input_size": (3, 47, 47), "interpolation": "bicubic", "crop_pct": 0.9}
    kept["crop_mode"] = "center"
    return saved(tmp_path / "same", "dm_nfnet_f0", SMALL, kept)


def exact(folder: Path, images: Tensor) -> Tensor:
    """The network's own logits, in float64."""
    with torch.no_grad():
        return AutoNFNet.from_pretrained(folder).double()(images.double())


def in_onnxruntime(file: Path, images: Tensor) -> Tensor:
    (logits,) = onnxruntime.InferenceSession(file).run(None, {"pixel_values": images.numpy()})
    return torch.from_numpy(logits)


def in_torch(file: Path, images: Tensor) -> Tensor:
    return torch.export.load(file).module()(images)


def assert_close(found: Tensor, wanted: Tensor, share: float) -> None:
    """Within a share of the range."""
    assert float(wanted.max() - wanted.min()) > 0.1
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=share * float(wanted.max() - wanted.min()))


@pytest.mark.parametrize(
    ("kind", "name", "network", "answer"),
    [("onnx", "model.onnx", "same", in_onnxruntime), ("torch", "model.pt2", "run", in_torch)],
)
def test_it_answers_as_the_network(
    kind: str,
    name: str,
    network: str,
    answer: Callable[..., Tensor],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = request.getfixturevalue(network)
    before = set(folder.iterdir())
    assert export.main([str(folder), "--format", kind]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and len(printed.out.splitlines()) == 4
    assert re.search(r"checked +logits differ by \d\.\de-\d\d from", printed.out)
    assert f"written to  {folder / name}: " in printed.out

    file = folder / name
    assert set(folder.iterdir()) - before == {file}
    side = SIDES[network]
    for count in (1, 2, 5):
        images = torch.randn(count, 3, side, side)
        assert_close(answer(file, images), exact(folder, images), 1e-5)
    # Neither whose machine it was written on, nor where the libraries are there.
    content = file.read_bytes()
    assert str(Path(timm.__file__).parent).encode() not in content and str(folder.parent).encode() not in content
    assert_says_how_to_use_it(facts_in(file), folder)


def facts_in(file: Path) -> dict[str, Any]:
    if file.suffix == ".onnx":
        found = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    else:
        found = dict.fromkeys(FACTS, "")
        torch.export.load(file, extra_files=found)
    return {name: json.loads(text) for name, text in found.items()}


def assert_says_how_to_use_it(facts: dict[str, Any], folder: Path) -> None:
    checkpoint = AutoNFNet.from_pretrained(folder).checkpoint
    assert facts["labels"] == LABELS
    assert facts["model"]["fingerprint"] == checkpoint.fingerprint
    in_pixels = {name: facts["preprocessing"].pop(name) for name in ("resize", "crop")}
    wanted = {"run": {"resize": [34, 34], "crop": [1, 1, 33, 33]}, "same": {"resize": 52, "crop": None}}
    assert in_pixels == wanted[folder.name]
    assert facts["preprocessing"] == json.loads(json.dumps(stored_preprocessing(checkpoint)))


@pytest.mark.parametrize("one_file", [True, False])
def test_int8(
    one_file: bool, same: Path, image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    if not one_file:
        # As if its weights were more than a file can hold.
        monkeypatch.setattr(onnx_format, "ONE_FILE", 0)
    task = image_folder("pictures", classes=["ant", "bee"], images=10)
    assert export.main([str(same), "--int8", "--task", str(task), "--output", "small.onnx"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"top-1 +(\d+\.\d\d)% in float, \d+\.\d\d% in int8, .* of 2 validation images", said)
    assert re.search(r"ms in torch, .* ms in onnxruntime, .* ms in int8", said)
    assert re.search(r"written to  small.onnx: \d\.\d MiB, in place of \d\.\d MiB", said)
    assert ("small.onnx.data, to be kept beside it" in said) != one_file
    left = {each.name for each in Path().iterdir() if each.is_file()}
    assert left == {"small.onnx"} | (set() if one_file else {"small.onnx.data"})

    images = torch.randn(8, 3, 47, 47).clamp(-2, 2)
    assert_close(in_onnxruntime(Path("small.onnx"), images), exact(same, images), 0.15)
    weights = {each.name: each for each in onnx.load("small.onnx").graph.initializer}
    values = [
        onnx.numpy_helper.to_array(each) for name, each in weights.items() if each.data_type == onnx.TensorProto.INT8
    ]
    assert max(np.abs(value.astype(int)).max() for value in values) <= 64
    assert find_format("onnx").is_ours(Path("small.onnx"))


def test_a_format_is_a_file_that_is_found_by_its_name() -> None:
    files = {path.stem for path in Path(formats.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(formats.names()) == files >= {"onnx", "torch"}
    endings = [find_format(name).ending for name in files]
    assert len(set(endings)) == len(endings)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    *_, last = captured.splitlines()
    assert last.startswith("nfft: ")
    return last


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("nowhere/", r"nowhere/: there is no such folder"),
        ("run --revision main", r"--revision main is for the Hub"),
        ("run --int8 --task digits --format torch", r"--int8 goes with --format onnx; got torch"),
        ("run --int8", r"--int8 needs --task"),
        ("run --task digits", r"--task and --set go with --int8"),
        ("run --int8 --task digits", r"the model tells 3 classes apart \(ant, bee, straße\); task digits has 10"),
        ("run --int8 --task digit", r"unknown task 'digit'; did you mean 'digits'"),
        (
            "run --resolution 16",
            r"--resolution 16 is too small for test_nfnet, .* 32 times. Use --resolution 32 or more",
        ),
        ("run --output run", r"--output run is a folder. Name a file, such as run/model.onnx"),
        ("run --output model.bin", r"--output model.bin: expected a name that ends in .onnx"),
        (
            "run --output run/config.json/model.onnx",
            r"cannot be written: run/config.json is no folder that can .*Choose another",
        ),
    ],
)
def test_mistakes(run: Path, asked: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(run.iterdir())
    assert export.main(asked.split()) == 2
    assert re.search(sentence, complaint(capsys))
    assert sorted(run.iterdir()) == before


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that even root cannot write to")
def test_a_place_that_cannot_be_written_to(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([str(run), "--output", "/proc/model.onnx"]) == 2
    assert re.search(r"--output /proc/model.onnx cannot be written", complaint(capsys))


def test_missing_packages(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert export.main([str(run)]) == 2
    assert re.search(r"needs onnxscript, .* pip install onnxscript", complaint(capsys))


@pytest.mark.parametrize("content", [b"mine", b"", onnx.ModelProto(producer_name="mine").SerializeToString()])
def test_nothing_of_others_is_replaced(run: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("onnx", "torch"):
        file = run / f"model{find_format(kind).ending}"
        file.write_bytes(content)
        assert export.main([str(run), "--format", kind]) == 2
        assert f"{file} is there already, and is no export of nfft's" in complaint(capsys)
        assert file.read_bytes() == content
    Path("large.onnx.data").write_bytes(b"mine")
    assert export.main([str(run), "--output", "large.onnx"]) == 2
    assert "large.onnx.data is there already" in complaint(capsys)


@pytest.mark.parametrize(("error", "passes"), [(1e-5, True), (1e-3, False), (float("nan"), False)])
def test_a_file_that_answers_otherwise_is_not_left(
    run: Path, error: float, passes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`error` is a share of the range of logits."""
    written: list[nn.Module] = []

    def write(network: nn.Module, side: int, facts: dict[str, str], path: Path) -> None:
        written.append(network)
        path.write_text("new")

    def opened(path: Path) -> Callable[[Tensor], Tensor]:
        def answer(images: Tensor) -> Tensor:
            logits = written[0](images)
            return logits + error * (logits.max() - logits.min())

        return answer

    facts = dict.fromkeys(FACTS, "")
    kind = replace(torch_format.FORMAT, write=write, open=opened, facts=lambda _: facts)
    monkeypatch.setattr(torch_format, "FORMAT", kind)
    Path("net.pt2").write_text("earlier")
    assert export.main([str(run), "--format", "torch", "--output", "net.pt2"]) == (0 if passes else 2)
    assert Path("net.pt2").read_text() == ("new" if passes else "earlier")
    if not passes:
        assert re.search(r"exported file was deleted: in torch.export its logits differ from", complaint(capsys))
    assert {each.name for each in Path().iterdir()} == {"run", "net.pt2"}


def test_a_network_that_does_not_take_the_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path / "vit", "test_vit3", {}, {**DEFAULT_PREPROCESSING, "input_size": (3, 160, 160)})
    assert export.main(["vit", "--resolution", "64"]) == 2
    assert re.search(r"--resolution 64 is none that test_vit3 takes: .*64.*160", complaint(capsys))


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"model": "folder"}, "folder/model.onnx"),
        ({"model": "folder/", "format": "torch"}, "folder/model.pt2"),
        ({"model": "folder", "int8": True}, "folder/model-int8.onnx"),
        ({"model": "nfnet-nano"}, "nfnet-nano.onnx"),
        ({"model": "timm/dm_nfnet_f0.dm_in1k", "int8": True}, "dm_nfnet_f0.dm_in1k-int8.onnx"),
    ],
)
def test_where_it_is_written(asked: dict[str, Any], path: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    given = argparse.Namespace(**{"format": "onnx", "int8": False, **asked})
    assert export.default_output(given, find_format(given.format)) == Path(path)
