"""A probe whose classifier sees every stage: what it is, who loads it, and what is refused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from accelerate.state import AcceleratorState
from processes import SCRIPT, torchrun
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import nfft
from nfft.cli import evaluate, finetune
from nfft.config import registry
from nfft.data.decode import decode
from nfft.data.splits import load_data
from nfft.errors import UserError
from nfft.files import fingerprint_of
from nfft.models.transforms import transform_of

ASKED = ["--task", "digits", "--method", "probe", "--precision", "fp32", "--shots", "10"]
ALL = ["--set", "method.stages=all"]
HEAD = "stage_head.safetensors"
IMAGES = 40


def probe(folder: Path, *arguments: str) -> dict:
    try:
        assert finetune.main([*ASKED, *arguments, "--output-dir", str(folder)]) == 0
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two runs of the same data: `plain` and `all`, the second with one penalty for both of its classifiers."""
    folder = tmp_path_factory.mktemp("runs")
    probe(folder / "plain", "--set", "method.l2=0.01")
    probe(folder / "all", "--set", "method.l2=0.01", *ALL)
    yield folder


def pictures(split: str) -> tuple[list[np.ndarray], np.ndarray]:
    data = load_data(registry.task("digits"))
    chosen = {each.name: each for each in data.splits}[split]
    return [decode(chosen[index]) for index in range(IMAGES)], chosen.labels[:IMAGES]


@torch.no_grad()
def reference_features(folder: Path) -> np.ndarray:
    """Features of test images by timm alone, in float64: hooks at the end of each stage."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval().double()
    seen: list[torch.Tensor] = []
    for stage in network.stages[:-1]:
        stage.register_forward_hook(lambda module, given, made: seen.append(network.final_act(made)))
    transform = transform_of(nfft.AutoNFNet.from_pretrained(folder).preprocessing)
    from PIL import Image

    pixels = torch.stack([transform(Image.fromarray(each)) for each in pictures("test")[0]]).double()
    final = network.forward_features(pixels)
    rows = [pool for each in seen for pool in (each.mean((2, 3)), each.amax((2, 3)))]
    return torch.cat([*rows, final.mean((2, 3))], 1).numpy()


def test_other_loaders_have_what_a_probe_without_stages_saves(runs: Path) -> None:
    plain, both = (json.loads((runs / name / "results.json").read_text()) for name in ("plain", "all"))
    assert (runs / "all/model.safetensors").read_bytes() == (runs / "plain/model.safetensors").read_bytes()
    assert both["stages"]["test"]["top1"] == plain["test"]["top1"]
    assert both["stages"]["stages"] and both["test"]["top1"] != plain["test"]["top1"]
    assert not (runs / "plain" / HEAD).exists() and "stages" not in plain


def test_the_classifier_is_what_scikit_learn_finds_on_features_of_timm(runs: Path) -> None:
    kept = {name: np.load(runs / f"all/features/{name}.npy").astype(np.float64) for name in ("train", "test")}
    expected = reference_features(runs / "plain")
    assert np.abs(kept["test"][:IMAGES] - expected).max() < 2e-3 * np.abs(expected).max()
    scaler = StandardScaler().fit(kept["train"])
    labels = np.load(runs / "all/features/train.npy", mmap_mode="r")
    data = load_data(registry.task("digits"))
    from nfft.data.splits import draw_shots

    labels = draw_shots(data, 10, 0).train.labels
    solver = LogisticRegression(C=1 / (0.01 * len(labels)), tol=1e-10, max_iter=10_000)
    solver.fit(scaler.transform(kept["train"]), labels)
    wanted = solver.predict_proba(scaler.transform(expected))
    model = nfft.AutoNFNet.from_pretrained(runs / "all")
    found = model.predict(pictures("test")[0], top_k=10)
    scores = np.array(
        [[{each["label"]: each["score"] for each in row}[name] for name in model.labels] for row in found]
    )
    assert np.abs(scores - wanted).max() < 1e-2
