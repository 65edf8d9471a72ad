"""A comparison runs every method with every seed once, whatever interrupts it, and says what came out."""

import json
import re
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
@pytest.mark.usefixtures("one_process", "blank_pictures")
def test_several_numbers_of_shots_make_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--methods", "probe,head-and-gains", "--steps", "2", "--wanted", "0.97"]
    assert comparison(tmp_path, *asked, "--shots", "20, 1,5,1") == 0
    said = capsys.readouterr().out
    assert "runs    12: 2 methods, 3 numbers of shots, 2 seeds" in said
    content = json.loads((tmp_path / "compare.json").read_text())
    assert [(row["method"], row["shots"]) for row in content["methods"]] == [
        (method, shots) for method in ("probe", "head-and-gains") for shots in (1, 5, 20)
    ]
    card = (tmp_path / "README.md").read_text()
    for row in content["methods"]:
        folders = [tmp_path / f"{row['method']}-{row['shots']}-shots-{seed}" for seed in (0, 1)]
        runs = [json.loads((folder / "run.json").read_text()) for folder in folders]
        assert [(run["data"]["shots"], run["data"]["train"]) for run in runs] == [(row["shots"], 10 * row["shots"])] * 2
        assert row["top1"] == [json.loads((folder / "results.json").read_text())["test"]["top1"] for folder in folders]
    for curve in content["curves"]:
        own = [row for row in content["methods"] if row["method"] == curve["method"]]
        assert curve["shots"] == [1, 5, 20] and curve["low"] == [row["low"] for row in own]
        assert curve["top1"] == pytest.approx([sum(row["top1"]) / 2 for row in own])
        cells = [f"{100 * top1:.1f}" for top1 in curve["top1"]]
        for text in (said, card, (tmp_path / "compare.md").read_text()):
            assert all(cell in text for cell in cells)
        assert curve["sentence"] in said
        assert curve["sentence"].partition(" ")[2].split("^")[0] in card
        assert curve["need"]["wanted"] == 0.97
    assert "compare.png" in card and str(tmp_path) not in card
    assert (tmp_path / "compare.png").stat().st_size > 5000

    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/results.json")}
    assert comparison(tmp_path, "--methods", "probe", "--steps", "2", "--shots", "1,2,5,20") == 0
    assert "6 of 8 runs are done already" in capsys.readouterr().out
    assert before.items() <= {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/results.json")}.items()
    (curve,) = json.loads((tmp_path / "compare.json").read_text())["curves"]
    assert curve["shots"] == [1, 2, 5, 20] and curve["need"] is None


@pytest.mark.parametrize("shots", ["0", "1,,2", "a", "", "1,2.5", "-1,2", "1,two"])
def test_shots_that_are_no_numbers(shots: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        comparison(tmp_path / "c", "--methods", "probe", f"--shots={shots}")
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert f"--shots: expected whole numbers of at least 1 with commas between them, such as 1,2,5; got {shots}" in said


@pytest.mark.parametrize("wanted", ["0", "1", "90", "nan", "a"])
def test_a_wanted_top1_is_a_share(wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        compare.main([*ASKED, "--shots", "1,2,5", "--wanted", wanted])
    assert end.value.code == 2
    assert f"expected a share between 0 and 1, such as 0.9; got {wanted}" in capsys.readouterr().err


@pytest.mark.parametrize("shots", ["200", "1,5,200"])
def test_more_shots_than_a_class_has_are_refused_before_any_run(
    shots: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert comparison(tmp_path / "c", "--methods", "probe", "--shots", shots) == 2
    said = capsys.readouterr()
    assert re.search(r"^nfft: --shots 200: there are \d+ training images of \d\. Use \d+ or less\.$", said.err.strip())
    assert "runs" not in said.out and not (tmp_path / "c").exists()


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
        (["--methods", "probe", "--wanted", "0.9"], "say with how many to measure, as in --shots 1,2,5,10,20"),
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
