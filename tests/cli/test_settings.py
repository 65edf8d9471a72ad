"""Settings about how a run goes leave what comes out as it was."""

import json
from pathlib import Path

import pytest
from torch import nn

from nfft.cli import finetune

pytestmark = pytest.mark.usefixtures("blank_pictures")

COMMON = [
    *("--task", "digits", "--model", "scratch:test_nfnet", "--precision", "fp32", "--steps", "4"),
    *("--batch-size", "16", "--set", "evaluations=1", "--set", "mixup=0.2"),
    *("--set", "task.validation_fraction=0.05", "--set", "task.test_fraction=0.05"),
]


def metrics(folder: Path, *settings: str) -> list[dict]:
    chosen = [word for setting in settings for word in ("--set", setting)]
    assert finetune.main([*COMMON, *chosen, "--output-dir", str(folder)]) == 0
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return metrics(tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.parametrize("setting", ["accumulation_steps=4", "gradient_checkpointing=true", "compile=true"])
def test_equals_the_plain_run(setting: str, plain: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The default backend needs a compiler and minutes; this one traces and runs the same graph.
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_module(module, backend="eager"))
    for here, there in zip(metrics(tmp_path / "run", setting), plain, strict=True):
        assert here["loss"] == pytest.approx(there["loss"], abs=1e-5)
        assert here["top1"] == pytest.approx(there["top1"])
        assert here.get("clipped") == pytest.approx(there.get("clipped"))


def test_a_network_with_batch_normalisation_trains_and_is_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--task", "digits", "--model", "scratch:resnet10t", "--recipe", "paper-resnet", "--steps", "2"]
    sizes = ["--batch-size", "16", "--set", "train_resolution=32", "--set", "test_resolution=32"]
    assert finetune.main([*asked, *sizes, "--output-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert said.count("it has batch normalisation: recipes are tuned for normalizer-free networks") == 1
    assert "clipping" not in said
