"""One layout, three readers: timm, transformers and AutoNFNet give what was saved the same answers and names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

import nfft
from nfft.data.decode import evaluation_view
from nfft.models.build import build_network
from nfft.models.checkpoint import open_checkpoint, random_checkpoint
from nfft.models.saving import save_network
from nfft.models.transforms import pixels_of, squash_preprocessing, stored_preprocessing

AWKWARD = [
    "日本語", "a/b\\c", "it's \"quoted\"", "- item: {yes, [no]} # &anchor *alias !tag %", "| pipe | table |",
    "**bold** _it_ `code` <script>alert(1)</script>", "../../etc/passwd", "\u202eturned", "  spaces  ", "null",
]  # fmt: skip
THOUSAND = [f"class {number}" for number in range(1000)]
NARROW = {"channels": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}
CASES = {
    "test_nfnet": ({}, AWKWARD),
    "nf_resnet26": ({**NARROW, "stem_chs": 16}, AWKWARD),
    "eca_nfnet_l0": ({**NARROW, "group_size": 8, "num_features": 64, "stem_chs": 32}, AWKWARD),
    "dm_nfnet_f0": ({**NARROW, "group_size": 8, "num_features": 64, "stem_chs": 16}, AWKWARD),
    "dm_nfnet_f4_plus": ({**NARROW, "group_size": 8, "num_features": 64, "stem_chs": 16}, THOUSAND),
    "nf_regnet_b0": ({**NARROW, "num_features": 64}, THOUSAND),
    "bn_resnet26": ({"layers": [1, 1, 1, 1], "channels": [16, 24, 32, 48]}, AWKWARD),
    "test_resnet": ({}, ["ant", "bee"]),
}
SIDE, MARGIN = 64, 9


@pytest.fixture(scope="module", params=CASES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module, list]:
    """A folder, the network that was saved in it, and its classes."""
    arguments, classes = CASES[request.param]
    checkpoint = random_checkpoint(request.param, arguments)
    torch.manual_seed(0)
    network = build_network(checkpoint, classes, dropout=0.2, stochastic_depth=0.1).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp(request.param)
    preprocessing = squash_preprocessing(checkpoint, SIDE, MARGIN)
    save_network(network, folder, checkpoint=checkpoint, classes=classes, preprocessing=preprocessing)
    return folder, network, classes


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    Image.fromarray(pixels).resize((180, 135), Image.Resampling.BICUBIC).save(path)
    return path


@torch.no_grad()
def test_logits_are_equal(saved: tuple[Path, nn.Module, list]) -> None:
    from transformers import AutoModelForImageClassification

    folder, network, _ = saved
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    wanted = network(images)
    by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    by_transformers = AutoModelForImageClassification.from_pretrained(folder).eval()
    assert torch.equal(by_timm(images), wanted)
    # transformers leaves tensors where the file is mapped, on odd addresses, for which kernels add up in another order:
    # 1e-7 of the logits. On even ones the answers are equal.
    torch.testing.assert_close(by_transformers(images).logits, wanted, rtol=0, atol=1e-6)
    for tensor in (*by_transformers.parameters(), *by_transformers.buffers()):
        tensor.data = tensor.data.clone()
    assert torch.equal(by_transformers(images).logits, wanted)
    assert torch.equal(nfft.AutoNFNet.from_pretrained(folder)(images), wanted)


def test_names_are_the_same(saved: tuple[Path, nn.Module, list]) -> None:
    from transformers import AutoConfig

    folder, _, classes = saved
    assert nfft.AutoNFNet.from_pretrained(folder).labels == classes
    assert list(AutoConfig.from_pretrained(folder).id2label.values()) == classes
    assert timm.create_model(f"local-dir:{folder}", pretrained=True).pretrained_cfg["label_names"] == classes


def test_a_picture_has_the_same_probabilities(saved: tuple[Path, nn.Module, list], photo: Path) -> None:
    from transformers import pipeline

    folder, _, classes = saved
    mine = nfft.AutoNFNet.from_pretrained(folder)
    ours = {each["label"]: each["score"] for each in mine.predict(photo, top_k=len(classes))}
    theirs = pipeline("image-classification", model=str(folder), top_k=len(classes))(str(photo))
    assert {each["label"]: each["score"] for each in theirs} == pytest.approx(ours, abs=1e-5)

    by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(by_timm), is_training=False)
    with Image.open(photo) as image:
        view = evaluation_view(image.convert("RGB"), SIDE, MARGIN)
        pixels = transform(image.convert("RGB"))
    with torch.no_grad():
        probabilities = by_timm(pixels[None]).softmax(1)[0].tolist()
    assert dict(zip(classes, probabilities, strict=True)) == pytest.approx(ours, abs=1e-6)

    # What scored it while it was trained: the same pixels.
    scored = pixels_of(stored_preprocessing(open_checkpoint("saved", folder)))
    with Image.open(photo) as image:
        assert np.array_equal(scored(image.convert("RGB")), view)


def test_what_auto_saves_is_what_it_loaded(saved: tuple[Path, nn.Module, list], tmp_path: Path) -> None:
    folder, _, _ = saved
    nfft.AutoNFNet.from_pretrained(folder).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    one, two = (json.loads((each / "config.json").read_text()) for each in (folder, tmp_path))
    assert one == two


def test_nothing_of_nfft_is_needed_to_load(saved: tuple[Path, nn.Module, list]) -> None:
    config: dict[str, Any] = json.loads((saved[0] / "config.json").read_text())
    assert config["architecture"] in {"test_nfnet", "nf_resnet26", "eca_nfnet_l0", "dm_nfnet_f0", "dm_nfnet_f4",
                                      "nf_regnet_b0", "resnetv2_50", "test_resnet"}  # fmt: skip
