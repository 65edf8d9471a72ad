"""A run that is killed or interrupted and taken up again equals the run that never was."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from pictures import noise
from processes import COMMON, STEPS, metrics, start, wait_for_step
from safetensors.torch import load_file

from nfft.cli import finetune
from nfft.errors import UserError
from nfft.reporting.publish import add_evaluation

pytestmark = pytest.mark.usefixtures("blank_pictures")


def assert_same_run(folder: Path, other: Path) -> None:
    """Final weights, both averages, momentum, metrics and scores are equal to the last bit."""
    assert metrics(folder) == metrics(other)
    last = f"checkpoints/step-{STEPS:08d}/state.safetensors"
    for file in ("model.safetensors", last):
        one, two = load_file(folder / file), load_file(other / file)
        assert one.keys() == two.keys()
        assert all(one[name].equal(two[name]) for name in one)
    one, two = (json.loads((each / "results.json").read_text()) for each in (folder, other))
    for split in ("validation", "test"):
        assert {**one[split], "images_per_second": 0} == {**two[split], "images_per_second": 0}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(["--set", "workers=0"], id="no workers"),
        pytest.param(
            ["--set", "workers=2", "--set", "accumulation_steps=2", "--set", "sam_rho=0.05", "--set", "randaugment=1"],
            id="2 workers, accumulation, SAM, RandAugment",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_killed_run_resumes_bit_identical(tmp_path: Path, settings: list[str]) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finetune.main([*COMMON, *settings, "--output-dir", str(whole)]) == 0

    with start(killed, *settings) as process:
        wait_for_step(process, killed, 9)
        process.kill()
    assert [each.name for each in sorted((killed / "checkpoints").glob("step-*"))] == ["step-00000004", "step-00000008"]

    # Step 8 of 1,617 images in batches of 32 lies inside the first epoch.
    assert finetune.main([*COMMON, *settings, "--output-dir", str(killed), "--resume"]) == 0
    assert_same_run(whole, killed)


@pytest.mark.slow
def test_the_number_of_workers_may_change_between(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert finetune.main([*COMMON, "--output-dir", str(whole)]) == 0
    with start(torn, "--set", "workers=1") as process:
        wait_for_step(process, torn, 9)
        process.kill()
    state = torn / "checkpoints/step-00000008/state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])

    assert finetune.main([*COMMON, "--output-dir", str(torn), "--resume"]) == 0
    assert_same_run(whole, torn)


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_interrupt_saves_and_says_how_to_go_on(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    folder = tmp_path / "run"
    with start(folder, "--set", "workers=2") as process:
        wait_for_step(process, folder, 2)
        process.interrupt(sent)
        _, errors = process.communicate()
    assert process.returncode == status
    assert f"nfft finetune --task digits --model scratch:test_nfnet --steps {STEPS}" in errors
    assert f"--output-dir {folder} --resume" in errors
    assert "Traceback" not in errors
    (saved,) = (folder / "checkpoints").iterdir()
    assert json.loads((saved / "state.json").read_text())["step"] == metrics(folder)[-1]["step"]

    assert finetune.main([*COMMON, "--output-dir", str(folder), "--resume"]) == 0
    assert metrics(folder)[-1]["step"] == STEPS


def test_two_processes_do_not_work_on_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with start(tmp_path / "run") as process:
        wait_for_step(process, tmp_path / "run", 1)
        assert finetune.main([*COMMON, "--output-dir", str(tmp_path / "run"), "--resume"]) == 2
        assert "another process is at work on the run" in capsys.readouterr().err
        with pytest.raises(UserError, match="another process is at work on the run"):
            add_evaluation(tmp_path / "run", {"task": {"name": "other"}})
        process.kill()
    assert finetune.main([*COMMON, "--output-dir", str(tmp_path / "run"), "--resume"]) == 0


def test_pictures_that_have_changed_are_found(
    tmp_path: Path, image_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    photos, run = image_folder(), tmp_path / "run"
    picture = photos / "ant" / "3.png"
    noise(seed=50).save(picture, compress_level=0)
    asked = ["--model", "scratch:test_nfnet", "--steps", "1", "--batch-size", "4", "--output-dir", str(run)]
    assert finetune.main(["--task", str(photos), *asked]) == 0
    moved = tmp_path / "elsewhere" / "photos"
    shutil.copytree(photos, moved, copy_function=shutil.copyfile)
    assert finetune.main(["--task", str(moved), *asked, "--resume"]) == 0

    noise(seed=51).save(picture, compress_level=0)  # of the same size
    capsys.readouterr()
    assert finetune.main(["--task", str(photos), *asked, "--resume"]) == 2
    said = capsys.readouterr().err
    assert "the pictures are not those that the run in" in said and "3.png" in said

    record = json.loads((run / "run.json").read_text())
    del record["data"]["pictures"]  # as of an earlier release
    (run / "run.json").write_text(json.dumps(record))
    assert finetune.main(["--task", str(moved), *asked, "--resume"]) == 0


def test_what_was_lost_after_the_last_checkpoint_is_written_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = [*COMMON, "--steps", "2", "--set", "evaluations=1", "--output-dir", str(run)]
    assert finetune.main(asked) == 0
    names = {path.name for path in run.iterdir()}
    before = {name: (run / name).read_bytes() for name in ("model.safetensors", "config.json", "run.json")}
    scores = json.loads((run / "results.json").read_text())["test"]
    for name in ("results.json", "README.md", "curves.png", *before):
        (run / name).unlink()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    assert finetune.main([*asked, "--resume"]) == 0
    assert {path.name for path in run.iterdir()} == names
    assert {name: (run / name).read_bytes() for name in before} == before
    again = json.loads((run / "results.json").read_text())["test"]
    assert {**again, "images_per_second": 0} == {**scores, "images_per_second": 0}
    assert len(metrics(run)) == 2 + 2
