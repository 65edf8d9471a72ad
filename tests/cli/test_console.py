"""What a terminal, or a file in its place, shows of a run."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from metrics import SOLVED, metrics, results, start

from nfft.cli.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(folder: Path, stream: io.StringIO) -> str:
    console = Console(stream)
    console.start(start(folder))
    for line in metrics(range(1, 11)):
        console.log(line)
    console.finish(folder, results())
    return stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_shows_the_last_step_and_evaluations(tmp_path: Path, stream: io.StringIO) -> None:
    text = shown(tmp_path, stream)
    assert "step 10/10" in text
    assert "loss 2.500 · top-1 25.0% · lr 0.1 · clipped 50.0% · 1,234 img/s" in text
    assert "step 5: validation top-1 raw 75.0%\n" in text
    assert "step 5: validation top-1 ema 87.5%\n" in text


def test_says_what_will_run_and_how_it_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.safetensors").touch()
    console = Console(io.StringIO())
    changes = {"replaced_classes": 200, "has_batch_norm": True, "notes": ["a note"], "reached": "step 4"}
    console.start(start(tmp_path, 4, **changes))
    said = capsys.readouterr().out
    assert said.startswith("task    digits: 1,259 train, 269 validation, 269 test images, 10 classes\n")
    assert "0.42 M parameters; new classifier in place of that for 200 classes\n" in said
    assert "it has batch normalisation" in said
    assert "recipe  auto: total_steps=1023 " in said
    assert "        a note\n        resumed after step 4\n" in said
    console.finish(tmp_path, results())
    said = capsys.readouterr().out
    assert "kept the raw weights: validation top-1 raw 99.63% against ema 99.63%" in said
    assert "test        top-1 99.26%, top-5 100.00%, loss 0.145, 269 images" in said
    assert f"written to  {tmp_path}/: model.safetensors, README.md" in said


def test_shows_a_probes_features_and_penalties(tmp_path: Path) -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.start(start(tmp_path))
    console.progress("features of train", 128, 1259)
    for line in [*SOLVED, replace(SOLVED[1], settled=False)]:
        console.log(line)
    assert stream.getvalue().splitlines() == [
        "features of train: 1,259 images, 3.2 s",
        "l2 0.001    validation top-1 87.5%, loss 0.750 · train loss 0.500 · 62 iterations",
        "l2 0.001    validation top-1 87.5%, loss 0.750 · train loss 0.500 · 62 iterations, not at rest",
    ]
