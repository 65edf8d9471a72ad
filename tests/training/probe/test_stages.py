"""A probe whose classifier sees every stage: what it is, who loads it, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from processes import SCRIPT, torchrun
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import nfft
from nfft.cli import evaluate, export, finetune
from nfft.config import registry
from nfft.data.decode import decode
from nfft.data.splits import draw_shots, load_data
from nfft.errors import UserError
from nfft.files import fingerprint_of

ASKED = ["--task", "digits", "--method", "probe", "--precision", "fp32", "--shots", "10"]
ALL, FIXED = ["--set", "method.stages=all"], ["--set", "method.l2=0.01"]
HEAD = "stage_head.safetensors"
IMAGES = 40


def run_command(command: Any, *arguments: Any) -> int:
    try:
        return command.main([*map(str, arguments)])
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def probe(folder: Path, *arguments: str) -> dict:
    assert run_command(finetune, *ASKED, *arguments, "--output-dir", folder) == 0
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on the same data: `plain` and `all`."""
    folder = tmp_path_factory.mktemp("runs")
    probe(folder / "plain", *FIXED)
    probe(folder / "all", *FIXED, *ALL)
    return folder


def pictures() -> list[Image.Image]:
    test = load_data(registry.task("digits")).test
    assert test is not None
    return [decode(test[index]) for index in range(IMAGES)]


@torch.no_grad()
def reference_features(folder: Path) -> np.ndarray:
    """Features of test images by timm alone, in float64: hooks at the end of each stage."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval().double()
    seen: list[torch.Tensor] = []
    for stage in network.stages[:-1]:
        stage.register_forward_hook(lambda module, given, made: seen.append(network.final_act(made)))
    transform = nfft.AutoNFNet.from_pretrained(folder).transform
    pixels = torch.stack([transform(each) for each in pictures()]).double()
    final = network.forward_features(pixels)
    rows = [pool for each in seen for pool in (each.mean((2, 3)), each.amax((2, 3)))]
    return torch.cat([*rows, final.mean((2, 3))], 1).numpy()


def test_other_loaders_have_what_a_probe_without_stages_saves(runs: Path) -> None:
    plain, both = (json.loads((runs / name / "results.json").read_text()) for name in ("plain", "all"))
    assert (runs / "all/model.safetensors").read_bytes() == (runs / "plain/model.safetensors").read_bytes()
    assert both["stages"]["test"]["top1"] == plain["test"]["top1"]
    assert both["stages"]["stages"] == [1, 2, 3] and both["test"]["loss"] < plain["test"]["loss"]
    assert not (runs / "plain" / HEAD).exists() and "stages" not in plain


def test_the_classifier_is_what_scikit_learn_finds_on_features_of_timm(runs: Path) -> None:
    kept = {name: np.load(runs / f"all/features/{name}.npy").astype(np.float64) for name in ("train", "test")}
    expected = reference_features(runs / "plain")
    assert np.abs(kept["test"][:IMAGES] - expected).max() < 2e-3 * np.abs(expected).max()

    scaler = StandardScaler().fit(kept["train"])
    labels = draw_shots(load_data(registry.task("digits")), 10, 0).train.labels
    solver = LogisticRegression(C=1 / (0.01 * len(labels)), tol=1e-10, max_iter=10_000)
    wanted = solver.fit(scaler.transform(kept["train"]), labels).predict_proba(scaler.transform(expected))
    model = nfft.AutoNFNet.from_pretrained(runs / "all")
    named = [{each["label"]: each["score"] for each in row} for row in model.predict(pictures(), top_k=10)]  # type: ignore
    assert np.abs([[row[name] for name in model.labels] for row in named] - wanted).max() < 0.03


@pytest.mark.slow
def test_what_is_loaded_answers_as_it_was_scored(runs: Path, tmp_path: Path) -> None:
    asked = ["--model", runs / "all", "--task", "digits", "--precision", "fp32"]
    assert run_command(evaluate, *asked, "--output", tmp_path / "scores.json") == 0
    scored = json.loads((tmp_path / "scores.json").read_text())
    results = json.loads((runs / "all/results.json").read_text())
    assert scored["scores"]["top1"] == pytest.approx(results["test"]["top1"], abs=0.004)
    assert scored["model"]["fingerprint"] == fingerprint_of(runs / "all" / HEAD) == results["files"][HEAD]


def test_what_is_saved_again_is_whole(runs: Path, tmp_path: Path) -> None:
    model = nfft.AutoNFNet.from_pretrained(runs / "all")
    model.save_pretrained(tmp_path / "saved")
    again = nfft.AutoNFNet.from_pretrained(tmp_path / "saved")
    assert again.predict(pictures()) == model.predict(pictures())
    assert again.features(pictures()).shape == (IMAGES, 2 * (48 + 96 + 144) + 288)


@pytest.mark.slow
def test_a_new_classifier_and_a_new_run_start_without_it(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nfft.AutoNFNet.from_pretrained(runs / "all", num_classes=3).save_pretrained(tmp_path / "saved")
    assert "nfft_stages" not in json.loads((tmp_path / "saved/config.json").read_text())
    probe(tmp_path / "run", "--model", str(runs / "all"), *FIXED)
    assert "has a classifier over several stages, which is left out" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "run" / HEAD).exists()


def test_the_card_says_which_loader_gives_which_answer(runs: Path) -> None:
    last = json.loads((runs / "all/results.json").read_text())["stages"]["test"]
    card = " ".join((runs / "all/README.md").read_text().split())
    assert "`nfft` answers by it" in card
    assert f"their answers are others: {100 * last['top1']:.2f} % top-1 on test in place of" in card
    assert HEAD not in (runs / "plain/README.md").read_text()


def _changed(folder: Path, change: Any) -> None:
    """The file of the classifier with other tensors, whose hash config.json has."""
    tensors = load_file(folder / HEAD)
    change(tensors)
    save_file(tensors, folder / HEAD)
    _described(folder, sha256=fingerprint_of(folder / HEAD))


def _described(folder: Path, **entries: Any) -> None:
    _described_as(folder, nfft_stages={**json.loads((folder / "config.json").read_text())["nfft_stages"], **entries})


def _described_as(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **entries}))


DAMAGES: dict[str, tuple[Any, str]] = {
    "missing": (lambda folder: (folder / HEAD).unlink(), "stage_head.safetensors is missing"),
    "cut": (lambda folder: (folder / HEAD).write_bytes(b"cut"), "stage_head.safetensors is not the one"),
    "shape": (lambda folder: _changed(folder, lambda all: all.update(bias=torch.zeros(3))), "bias must be"),
    "lost": (lambda folder: _changed(folder, lambda all: all.pop("last.weight")), "last.weight is missing"),
    "infinite": (lambda folder: _changed(folder, lambda all: all["bias"].fill_(torch.inf)), "not finite"),
    "strange stage": (lambda folder: _described(folder, stages=[1, 99]), "stages that the network does not have"),
    "an adapter": (lambda folder: _described_as(folder, nfft_adapter={}), "nfft makes no network with both"),
    "order": (lambda folder: _described(folder, stages=[2, 1]), "ascending whole numbers"),
    "words": (lambda folder: _described(folder, stages="all"), "ascending whole numbers"),
    "hash": (lambda folder: _described(folder, weights=None), "two hashes"),
    "other hash": (lambda folder: _described(folder, weights="0" * 64), "model.safetensors is not the one"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_classifier_is_a_sentence(runs: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(runs / "all", tmp_path / "run", ignore=shutil.ignore_patterns("features"))
    act, sentence = DAMAGES[damage]
    act(tmp_path / "run")
    with pytest.raises(UserError, match=sentence):
        nfft.AutoNFNet.from_pretrained(tmp_path / "run")


def test_scores_of_one_classifier_are_not_added_to_the_run_of_the_other(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, run in (("plain", "all"), ("all", "plain")):
        assert run_command(evaluate, "--model", runs / model, "--task", "digits", "--add-to", runs / run) == 2
        assert "the run there has other weights than --model" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_two_processes_equal_one_and_a_run_that_goes_on_the_same(runs: Path, tmp_path: Path) -> None:
    done = torchrun(SCRIPT, *ASKED, *ALL, *FIXED, "--output-dir", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    one, two = (load_file(folder / HEAD) for folder in (runs / "all", tmp_path / "two"))
    assert one.keys() == two.keys()
    for name in one:
        assert (one[name] - two[name]).abs().max() <= 2e-2 * one[name].abs().max()
    shutil.copytree(runs / "all", tmp_path / "again")
    (tmp_path / "again/results.json").unlink()
    probe(tmp_path / "again", *ALL, *FIXED, "--resume")
    assert (tmp_path / "again" / HEAD).read_bytes() == (runs / "all" / HEAD).read_bytes()


@pytest.mark.slow
def test_an_export_answers_by_all_stages(runs: Path, tmp_path: Path) -> None:
    import onnxruntime

    model = nfft.AutoNFNet.from_pretrained(runs / "all")
    pixels = torch.stack([model.transform(each) for each in pictures()])
    with torch.no_grad():
        wanted, others = model(pixels), model.network.body(pixels)
    assert run_command(export, runs / "all", "--output", tmp_path / "model.onnx") == 0
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    answers = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: pixels.numpy()})[0])
    assert (answers - wanted).abs().max() < 1e-3 < (others - wanted).abs().max()
    asked = ["--format", "onnx", "--int8", "--task", "digits", "--output", tmp_path / "int8.onnx"]
    assert run_command(export, runs / "all", *asked) == 0


@pytest.mark.slow
@torch.no_grad()
def test_timm_and_transformers_load_the_network_with_its_last_layers_classifier(runs: Path) -> None:
    from transformers import AutoModelForImageClassification

    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    wanted = nfft.AutoNFNet.from_pretrained(runs / "plain")(images)
    assert torch.equal(timm.create_model(f"local-dir:{runs / 'all'}", pretrained=True).eval()(images), wanted)
    by_transformers = AutoModelForImageClassification.from_pretrained(runs / "all").eval()
    torch.testing.assert_close(by_transformers(images).logits, wanted, rtol=0, atol=1e-5)
    assert not torch.allclose(nfft.AutoNFNet.from_pretrained(runs / "all")(images), wanted, atol=0.1)
