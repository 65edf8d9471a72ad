"""Images that cannot be read cost themselves, not the run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nfft.cli import finetune
from nfft.data.augment import train_view

pytestmark = pytest.mark.usefixtures("blank_pictures")

COMMON = ["--model", "scratch:test_nfnet", "--steps", "12", "--batch-size", "16", "--set", "evaluations=1"]


def skipped(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


def test_a_broken_image_is_left_out_and_listed(
    image_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = image_folder(images=60)
    broken = photos / "bee" / "7.png"
    broken.write_bytes(broken.read_bytes()[:100])
    assert finetune.main(["--task", str(photos), *COMMON, "--output-dir", str(tmp_path / "run")]) == 0

    said = capsys.readouterr().out
    assert "107 train, 12 validation images" in said
    assert "1 images cannot be read and are left out: see skipped.jsonl" in said
    (line,) = skipped(tmp_path / "run")
    assert (line["split"], line["image"]) == ("train", str(broken))
    assert "truncated" in line["reason"]


def test_images_that_break_later_do_not_end_the_run(
    image_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = image_folder(images=20)
    lost = [photos / "ant" / "3.png", photos / "bee" / "4.png"]

    def view_after_loss(*arguments: object) -> object:
        for path in lost:
            path.unlink(missing_ok=True)
        return train_view(*arguments)

    # The scan has read every image by the time that the loader reads its first. None is kept decoded.
    monkeypatch.setattr("nfft.data.decode_cache.LIMIT", 0)
    monkeypatch.setattr("nfft.data.loader.train_view", view_after_loss)
    assert finetune.main(["--task", str(photos), *COMMON, "--output-dir", str(tmp_path / "run")]) == 0

    lines = skipped(tmp_path / "run")
    assert sorted(line["image"] for line in lines) == sorted(map(str, lost))
    assert all("No such file" in line["reason"] for line in lines)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["validation"]["count"] + results["validation"]["left_out"] == 4


def test_a_broken_image_that_was_not_looked_at_is_met_in_the_run(
    image_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = image_folder(images=20)
    # The scan is too short to come across them.
    monkeypatch.setattr("nfft.data.scan.MOST_SCANNED", 2)
    for name in ("ant/7.png", "bee/12.png"):
        (photos / name).write_bytes(b"no picture")
    assert finetune.main(["--task", str(photos), *COMMON, "--output-dir", str(tmp_path / "run")]) == 0

    lines = skipped(tmp_path / "run")
    assert {line["image"] for line in lines} == {str(photos / "ant/7.png"), str(photos / "bee/12.png")}
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["data"]["train"] + facts["data"]["validation"] == 40
