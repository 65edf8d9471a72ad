"""A study runs each of its cells once, whatever ends it and however many processes work on it."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from processes import Process, wait_for_step

from nfft.cli import study
from nfft.config.registry import study as find_study
from nfft.experiments.records import failed, finished, read_study_lines
from nfft.experiments.results import table_of

pytestmark = pytest.mark.usefixtures("blank_pictures")

FILE = """
from nfft import Pretrained, Study

SMALL = {"task": "digits", "train_resolution": 32, "test_resolution": 32, "batch_size": 32, "evaluations": 1}
SOURCE = Pretrained("net", {**SMALL, "model": "scratch:test_nfnet", "recipe": "pretrain", "steps": 2})
STUDY = Study(
    name="tiny", title="A tiny *study*", question="Is it so?", paper="The paper has 1 %.", budget="seconds",
    rows={"soft": {"model": SOURCE}, "hard": {"model": SOURCE, "clipping": 0.001}},
    columns={"digits": {}, "digits, short": {"steps": 1}},
    shared={**SMALL, "steps": 2},
    pairs=(("soft", "hard"),), row_label="Clipping",
)
"""
CELLS = {"pre-trained/net-0", "soft/digits-0", "soft/digits-short-0", "hard/digits-0", "hard/digits-short-0"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(FILE)
    return path


def command(file: Path, folder: Path, *arguments: str) -> list[str]:
    return ["study", str(file), "--seeds", "1", "--output-dir", str(folder), *arguments]


@pytest.mark.slow
def test_every_cell_once_with_table_plot_and_card(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "out"
    # Two processes, each taking what the other is not at.
    with ExitStack() as stack:
        both = [stack.enter_context(Process("-m", "nfft", *command(file, folder))) for _ in range(2)]
        said = ["".join(process.communicate()) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    records = finished(read_study_lines(folder / "runs.jsonl"))
    assert {record.cell for record in records} == CELLS
    for cell in CELLS:
        assert (folder / f"{cell}.log").read_text().count("written to") == 1, "it was run twice"
    started = {record.cell: record.run for record in records}
    assert started["hard/digits-0"].recipe.settings["clipping"] == 0.001
    weights = {run.model.fingerprint for cell, run in started.items() if not cell.startswith("pre-trained")}
    assert len(weights) == 1 and None not in weights, "both start from the same network"
    shown = table_of(find_study(str(file)), records)
    assert [line[0] for line in shown] == ["Clipping", "soft", "hard"]
    card = (folder / "README.md").read_text()
    assert str(tmp_path) not in card, "where files lie on this machine is no business of readers"
    for text in (shown[1][1], shown[2][2], "A tiny", "The paper has 1 %.", "hard over soft, mean of all"):
        assert text in card
        assert text in said[0] or text.startswith("The paper")
    assert (folder / "study.png").stat().st_size > 5000

    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/results.json")}
    assert study.main(command(file, folder)[1:]) == 0
    assert "5 of 5 runs are done already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*/*/results.json")}


@pytest.mark.slow
def test_a_study_that_is_killed_goes_on_with_the_run_that_outlived_it(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file.write_text(FILE.replace('"recipe": "pretrain", "steps": 2', '"recipe": "pretrain", "steps": 30'))
    folder = tmp_path / "out"
    with Process("-m", "nfft", *command(file, folder)) as killed:
        wait_for_step(killed, folder / "pre-trained/net-0", 2)
        killed.kill()
    assert not (folder / "pre-trained/net-0/results.json").exists()
    assert study.main(command(file, folder, "--only", "soft/digits-0")[1:]) == 0
    assert "failed" not in capsys.readouterr().out
    # It was waited for, not begun again.
    assert "resumed" not in (folder / "pre-trained/net-0.log").read_text()


@pytest.mark.slow
def test_a_machine_that_is_lent_for_minutes(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file.write_text(FILE.replace('"recipe": "pretrain", "steps": 2', '"recipe": "pretrain", "steps": 30'))
    asked, done = command(file, tmp_path / "out", "--only", "soft/digits-0")[1:], tmp_path / "out/soft/digits-0"
    assert study.main([*asked, "--minutes", "0.001"]) == 124
    assert "what is done stays. The same command goes on" in capsys.readouterr().err
    assert not (done / "results.json").exists()
    assert study.main([*asked, "--minutes", "60"]) == 0
    assert (done / "results.json").is_file()


@pytest.mark.usefixtures("one_process")
def test_part_of_it_by_name_is_of_what_it_started_from(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = command(file, tmp_path / "out", "--only", "soft/digits-0")[1:]
    assert study.main(asked) == 0
    cells = {line.cell for line in read_study_lines(tmp_path / "out/runs.jsonl")}
    assert cells == {"pre-trained/net-0", "soft/digits-0"}
    assert study.main([*asked, "--set", "pretraining.steps=3"]) == 2
    assert "holds a run of other settings" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out/pre-trained/net-0")
    assert study.main([*asked, "--set", "pretraining.steps=3"]) == 2, "what started from the old one is still there"


@pytest.mark.usefixtures("one_process")
def test_a_cell_that_fails_stops_no_other_and_is_named(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    file.write_text(FILE.replace('"clipping": 0.001', '"batch_size": 100_000'))
    assert study.main(command(file, tmp_path / "out", "--only", "*/digits-0")[1:]) == 1
    assert "hard/digits-0: failed: nfft: the batch size 100000 is larger" in capsys.readouterr().out
    card = (tmp_path / "out/README.md").read_text()
    assert "Runs that failed" in card and "- hard/digits-0: nfft: the batch size 100000 is larger" in card
    lines = read_study_lines(tmp_path / "out/runs.jsonl")
    assert [run.cell for run in finished(lines)] == ["pre-trained/net-0", "soft/digits-0"]
    assert [run.cell for run in failed(lines)] == ["hard/digits-0"]
    assert study.main(command(file, tmp_path / "out", "--only", "soft/digits-0")[1:]) == 0
    assert card == (tmp_path / "out/README.md").read_text().replace("soft/digits-0'", "*/digits-0'"), "it stays known"


@pytest.mark.usefixtures("one_process")
def test_what_starts_from_a_failed_run_fails_with_it(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file.write_text(FILE.replace('"recipe": "pretrain"', '"recipe": "pretrain", "clipping": None, "lr": 1e6'))
    assert study.main(command(file, tmp_path / "out", "--only", "soft/digits-0")[1:]) == 1
    said = capsys.readouterr().out
    assert "pre-trained/net-0: failed: nfft: " in said
    assert "soft/digits-0: failed: what it starts from, pre-trained/net-0, failed" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--only", "sotf*"], "no run is called so"),
        (["--data", "digit=x"], "did you mean 'digits'"),
        (["--data", "digits=absent/"], "Say where the images are: --data digits=FOLDER"),
        (["--set", "clippin=1"], "the recipe has no setting 'clippin'"),
        (["--set", "pretraining.step=1"], "the recipe has no setting 'step'"),
    ],
)
def test_mistakes(
    arguments: list[str], expected: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert study.main(command(file, tmp_path / "out", *arguments)[1:]) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_study(capsys: pytest.CaptureFixture) -> None:
    assert study.main(["transfr"]) == 2
    assert "did you mean 'transfer'" in capsys.readouterr().err.lower()
