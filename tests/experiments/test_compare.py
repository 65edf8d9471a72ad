"""A comparison runs every method with every seed once, whatever interrupts it, and says what came out."""

import json
import signal
from pathlib import Path

import pytest
from processes import Process, wait_for_step
from scipy import stats

from nfft.cli import compare

pytestmark = pytest.mark.usefixtures("blank_pictures")

ASKED = ["--task", "digits", "--precision", "fp32", "--steps", "4", "--set", "evaluations=1", "--seeds", "2"]

# What a probe has no part in.
SMALL = ["--set", "batch_size=16", "--set", "train_resolution=32", "--set", "test_resolution=32"]


def comparison(folder: Path, *arguments: str) -> int:
    return compare.main([*ASKED, *arguments, "--output-dir", str(folder)])


@pytest.mark.slow
@pytest.mark.usefixtures("one_process")
def test_every_method_and_seed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--methods", "probe,lora", "--shots", "10", "--set", "lora.rank=2"]
    assert comparison(tmp_path, *asked) == 0
    said = capsys.readouterr().out
    rows = {row["method"]: row for row in json.loads((tmp_path / "compare.json").read_text())["methods"]}
    assert list(rows) == ["probe", "lora"]
    for name, row in rows.items():
        runs = [json.loads((tmp_path / f"{name}-{seed}/results.json").read_text()) for seed in (0, 1)]
        assert row["top1"] == [each["test"]["top1"] for each in runs]
        low, high = stats.t.interval(0.95, 1, sum(row["top1"]) / 2, stats.sem(row["top1"]))
        assert (row["low"], row["high"]) == pytest.approx((low, high))
        assert name in said
    settings = json.loads((tmp_path / "lora-0/run.json").read_text())
    assert settings["method"]["settings"]["rank"] == 2 and settings["data"]["shots"] == 10
    assert rows["lora"]["disk_bytes"] < rows["probe"]["disk_bytes"] / 3
    assert rows["probe"]["trained"] == 2890
    assert (tmp_path / "compare.png").stat().st_size > 5000
    assert (tmp_path / "compare.md").read_text().count("\n") == 4

    began = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/results.json")}
    assert comparison(tmp_path, *asked) == 0
    assert "4 of 4 runs are done already" in capsys.readouterr().out
    assert began == {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/results.json")}

    assert comparison(tmp_path, "--methods", "probe,lora", "--shots", "5") == 2
    assert "holds a run of other settings" in capsys.readouterr().err


@pytest.mark.usefixtures("one_process")
def test_a_run_that_fails_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [*SMALL, "--methods", "last-stages,head-and-gains", "--seeds", "1", "--set", "last-stages.stages=9"]
    assert comparison(tmp_path, *asked) == 1
    said = capsys.readouterr().out
    assert "last-stages-0: failed: nfft: method.stages must be from 0 to 4" in said
    assert [row["method"] for row in json.loads((tmp_path / "compare.json").read_text())["methods"]] == [
        "head-and-gains"
    ]


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path: Path) -> None:
    asked = [*ASKED, *SMALL, "--methods", "full,head-and-gains", "--seeds", "1", "--steps", "12"]
    asked += ["--output-dir", str(tmp_path / "c")]
    with Process("-m", "nfft", "compare", *asked) as process:
        wait_for_step(process, tmp_path / "c/full-0", 3)
        process.interrupt(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    assert "The same command goes on" in said and "Traceback" not in said
    assert not (tmp_path / "c/full-0/results.json").exists()
    assert not (tmp_path / "c/head-and-gains-0").exists()
    assert compare.main(asked) == 0
    assert "resumed after step" in (tmp_path / "c/full-0.log").read_text()
    assert (tmp_path / "c/head-and-gains-0/results.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--methods", "probe,fool"], "unknown method 'fool'; did you mean 'full'"),
        (["--methods", "probe", "--set", "lora.rank=2"], "--set lora.rank"),
        (["--methods", "probe", "--set", "crop_araa=2"], "did you mean 'crop_area'"),
        (["--task", "digitz", "--methods", "probe", "--seeds", "1"], "unknown task 'digitz'"),
    ],
)
def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert comparison(tmp_path / "c", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("methods", ["probe,probe", ","])
def test_methods_are_named_once(methods: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare.main([*ASKED, "--methods", methods])
    assert "each once" in capsys.readouterr().err
