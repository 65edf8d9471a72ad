"""A probe looks at every image once, goes on where it was stopped, and is the same from one process or two."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from processes import SCRIPT, torchrun
from safetensors.torch import load_file

import nfft
from nfft.cli import finetune
from nfft.data.loader import EvaluationImages
from nfft.training.probe import trainer
from nfft.training.probe.features import BATCH, extract_features

pytestmark = pytest.mark.usefixtures("blank_pictures")

ASKED = ["--task", "digits", "--method", "probe", "--precision", "fp32"]


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def probe(folder: Path, *arguments: str) -> dict:
    assert finetune.main([*ASKED, *arguments, "--output-dir", str(folder)]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a probe that has ended; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("probe") / "run"
    probe(folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_only_the_classifier_changes_and_features_are_those_of_the_network(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    assert results["test"]["top1"] > 0.9
    assert results["training"]["l2"] in {line["l2"] for line in solutions(finished)}
    before, after = weights(Path(nfft.__file__).parent / "pretrained/nfnet-nano"), weights(finished)
    assert {name for name in after if not torch.equal(before[name], after[name])} == {"head.fc.weight", "head.fc.bias"}

    from nfft.config import registry
    from nfft.data.decode import decode
    from nfft.data.splits import load_data

    test = load_data(registry.task("digits")).test
    assert test is not None
    model = nfft.AutoNFNet.from_pretrained(finished)
    expected = model.features([decode(test[index]) for index in range(20)]).numpy()
    kept = np.load(finished / "features/test.npy")[:20].astype(np.float32)
    assert np.abs(kept - expected).max() < 2e-3 * np.abs(expected).max()


def solutions(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "solution"]


@pytest.mark.slow
def test_a_stopped_probe_goes_on_where_it_was(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    polled = []

    def requested(self: object) -> bool:
        polled.append(None)
        return len(polled) == 3

    with monkeypatch.context() as patch:
        patch.setattr("nfft.training.interrupt.Interrupt.requested", requested)
        patch.setattr("nfft.training.interrupt.Interrupt.exit_status", 130)
        assert finetune.main([*ASKED, "--output-dir", str(tmp_path / "stopped")]) == 130
    AcceleratorState._reset_state(reset_partial_state=True)
    noted = json.loads((tmp_path / "stopped/features/train.json").read_text())
    assert noted["rows"] == 3 * BATCH

    seen: list[int] = []
    view_of = EvaluationImages.view_of

    def noted_view(self: EvaluationImages, index: int) -> np.ndarray:
        seen.append(index)
        return view_of(self, index)

    monkeypatch.setattr(EvaluationImages, "view_of", noted_view)
    probe(tmp_path / "stopped", "--resume")
    assert len(seen) == 1259 + 269 + 269 - noted["rows"]
    one, two = weights(finished), weights(tmp_path / "stopped")
    assert all(one[name].equal(two[name]) for name in one)

    seen.clear()
    probe(tmp_path / "stopped", "--resume")
    assert not seen


def test_features_of_something_else_are_not_taken(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    noted = tmp_path / "run/features/test.json"
    record = json.loads(noted.read_text())
    noted.write_text(json.dumps({**record, "key": "0" * 64}))
    np.save(tmp_path / "run/features/test.npy", np.zeros((269, 288), np.float16))
    results = probe(tmp_path / "run", "--resume")
    assert results["test"]["top1"] > 0.9


@pytest.mark.parametrize("cut", [False, True])
def test_features_that_were_damaged_are_computed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, cut: bool
) -> None:
    asked = ["--shots", "10", "--set", "task.validation_fraction=0.05", "--set", "task.test_fraction=0.05"]
    before = probe(tmp_path / "run", *asked)
    whole, file = weights(tmp_path / "run"), tmp_path / "run/features/train.npy"
    content = bytearray(file.read_bytes())
    content[-500] ^= 1
    file.write_bytes(content[:-400] if cut else content)
    after = probe(tmp_path / "run", *asked, "--resume")
    assert "train.npy is damaged from row 0 on" in caplog.text
    assert after["test"]["loss"] == before["test"]["loss"]
    assert all(whole[name].equal(tensor) for name, tensor in weights(tmp_path / "run").items())
    assert file.read_bytes() != content


@pytest.mark.slow
def test_two_processes_equal_one(finished: Path, tmp_path: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    done = torchrun(SCRIPT, *ASKED, "--output-dir", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test        top-1") == 1
    for name in ("train", "validation", "test"):
        one, two = (np.load(run / "features" / f"{name}.npy") for run in (finished, tmp_path / "two"))
        assert np.abs(one.astype(np.float32) - two).max() <= 2e-3 * np.abs(one).max()
    assert json.loads((tmp_path / "two/results.json").read_text())["test"]["top1"] == pytest.approx(
        results["test"]["top1"], abs=0.008
    )


def test_augmented_views_are_added(tmp_path: Path) -> None:
    results = probe(tmp_path / "run", "--set", "method.views=2", "--shots", "10", "--seed", "3")
    assert results["training"]["images"] == 3 * 100 + 40 + 269
    kept = [np.load(tmp_path / f"run/features/{name}.npy") for name in ("train", "train-0", "train-1")]
    assert kept[0].shape == kept[1].shape == kept[2].shape == (100, 288)
    assert not np.array_equal(kept[1], kept[2])


def test_augmented_views_are_altered_where_that_is_asked_for(tmp_path: Path) -> None:
    asked = ["--set", "method.views=1", "--shots", "2", "--set", "task.train_images=40"]
    for name, altered in (("plain", []), ("altered", ["--set", "color_jitter=1"])):
        probe(tmp_path / name, *asked, *altered)
    views = [np.load(tmp_path / f"{name}/features/train-0.npy") for name in ("plain", "altered")]
    assert not np.array_equal(*views)
    recorded = json.loads((tmp_path / "altered/run.json").read_text())["recipe"]["settings"]
    assert recorded["color_jitter"] == 1.0 and "mixup" not in recorded


def test_an_image_that_breaks_after_the_scan_is_left_out(
    tmp_path: Path, image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = image_folder(images=20)

    def break_one(*arguments: Any, **settings: Any) -> bool:
        (folder / "ant" / "3.png").write_bytes(b"")
        return extract_features(*arguments, **settings)

    monkeypatch.setattr(trainer, "extract_features", break_one)
    asked = ["--task", str(folder), "--method", "probe", "--output-dir", str(tmp_path / "run")]
    assert finetune.main(asked) == 0
    assert "3.png" in (tmp_path / "run/skipped.jsonl").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lr", "0.1"], "lr has no part in --method probe"),
        (["--steps", "10"], "total_steps has no part in --method probe"),
        (["--set", "crop_area=0.2"], "crop_area has no part in --method probe"),
        (["--set", "random_erasing=0.5"], "random_erasing has no part in --method probe"),
        (["--set", "method.l2=-1"], "method.l2 must be a finite number of at least 0"),
        (["--set", "method.views=-1"], "method.views must be at least 0"),
        (["--shots", "1000"], "training images of"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert finetune.main([*ASKED, *arguments, "--output-dir", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
