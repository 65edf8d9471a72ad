"""What a study wrote down is read again, whatever release wrote it, and refused in a sentence where it is wrong."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from damage import damaged
from run_records import make_results, make_run

import nfft
from nfft.config.study import Study
from nfft.errors import UserError
from nfft.experiments.card import render_study
from nfft.experiments.cells import Cell, Changes, in_order, places
from nfft.experiments.compare import row_of, table_of
from nfft.experiments.records import Comparison, FailedRun, StudyRecord, failed, finished, read_study_lines
from nfft.experiments.report import write_study
from nfft.experiments.results import record_of
from nfft.experiments.runner import check_cells, run_all
from nfft.files import write_json
from nfft.runs.folder import write_results, write_run

CARDS = Path(__file__).parents[2] / "cards"
SMALL = {"task": "digits", "model": "nfnet-nano", "steps": 2}
STUDY = Study(
    name="s", title="t", question="q", paper="p", budget="b", row_label="Net", shared=SMALL,
    rows={"BN": {}, "NF": {"lr": 0.2}}, columns={"a": {}, "b": {"batch_size": 8}}, pairs=(("BN", "NF"),),
)  # fmt: skip


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    """The cells of a study, the first of which is done."""
    cells = in_order(places(STUDY, 1, Changes()))
    folder = tmp_path / cells[0].name
    folder.mkdir(parents=True)
    write_json(cells[0].beside(tmp_path, "cell.json"), cells[0].described())
    write_run(folder, replace(make_run(), versions={"nfft": nfft.__version__}))
    write_results(folder, make_results())
    return cells


def test_a_finished_run_becomes_a_line_without_its_classes(cells: list[Cell], tmp_path: Path) -> None:
    record = record_of(STUDY, cells[0], tmp_path, places(STUDY, 1, Changes())[0])
    assert (record.row, record.column, record.top1) == ("BN", "a", make_results().quoted.top1)
    (tmp_path / "runs.jsonl").write_text(json.dumps(record.to_json()) + "\n")
    assert "classes" not in record.to_json()["run"]["data"]
    (read,) = finished(read_study_lines(tmp_path / "runs.jsonl"))
    assert read == replace(record, run=replace(record.run, data=replace(record.run.data, classes=())))


def test_a_row_of_a_comparison_is_of_what_is_done(cells: list[Cell], tmp_path: Path) -> None:
    row, results = row_of("full", cells, tmp_path), make_results()
    assert row is not None
    assert (row.top1, row.low, row.wall_seconds) == ((results.quoted.top1,), None, (4000.0,))
    assert Comparison.from_json(Comparison(command="c", methods=(row,)).to_json()).methods == (row,)
    assert table_of([row])[1][:4] == ("full", "80.00", "–", "71,489,094 (100.0%)")
    assert row_of("full", cells[1:], tmp_path) is None


def test_a_study_of_averaged_weights_takes_those_of_validation(cells: list[Cell], tmp_path: Path) -> None:
    averaged, place = replace(STUDY, weights="ema"), places(STUDY, 1, Changes())[0]
    record = record_of(averaged, cells[0], tmp_path, place)
    assert (record.split, record.top1, record.loss) == ("validation", 0.8, 0.7)
    raw = replace(make_results(), weights="raw", candidates={"raw": make_results().candidates["raw"]})
    write_results(tmp_path / cells[0].name, raw)
    with pytest.raises(UserError, match="bn/a-0 averages no weights, which are what the study's table is of"):
        record_of(averaged, cells[0], tmp_path, place)


def test_a_cell_of_a_newer_nfft_is_left_to_that(cells: list[Cell], tmp_path: Path) -> None:
    check_cells(cells, tmp_path)
    write_run(tmp_path / cells[0].name, replace(make_run(), versions={"nfft": "99.1"}))
    for refuse in (
        lambda: check_cells(cells, tmp_path),
        lambda: record_of(STUDY, cells[0], tmp_path),
        lambda: row_of("full", cells, tmp_path),
    ):
        with pytest.raises(
            UserError, match=rf"was written by nfft 99\.1, and this is nfft {nfft.__version__}\. Upgrade"
        ):
            refuse()


def test_a_cell_that_is_damaged_is_named(cells: list[Cell], tmp_path: Path) -> None:
    (tmp_path / cells[0].name / "results.json").write_text("{}")
    for refuse in (lambda: record_of(STUDY, cells[0], tmp_path), lambda: row_of("full", cells, tmp_path)):
        with pytest.raises(UserError, match=r"bn/a-0/results\.json is damaged, or not a run's: .*weights"):
            refuse()


def test_what_is_done_is_not_run_again(cells: list[Cell], tmp_path: Path) -> None:
    said: list[str] = []
    assert run_all(cells, tmp_path, said.append, lambda: True) == []
    assert said == ["1 of 4 runs are done already"]


@pytest.mark.parametrize("file", sorted(CARDS.glob("results/*/runs.jsonl")), ids=lambda file: file.parent.name)
def test_lines_of_earlier_releases_are_read(file: Path) -> None:
    lines = read_study_lines(file)
    content = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line.cell for line in lines] == [line["cell"] for line in content]
    assert len(finished(lines)) + len(failed(lines)) == len(lines)
    for run, line in zip(finished(lines), (line for line in content if "failed" not in line), strict=True):
        assert run.run.model.license == line["run"]["model"]["licence"]
        assert run.run.task.license == line["run"]["task"]["licence"]


def test_an_entry_that_is_wrong_is_a_sentence_or_does_no_harm(tmp_path: Path) -> None:
    first, *_ = (CARDS / "results/clipping/runs.jsonl").read_text().splitlines()
    lost = FailedRun(cell="x", row="BN", column="a", seed=0, failed="it diverged")
    whole = [json.loads(first) | {"row": None, "column": None}, lost.to_json()]
    settings = whole[0]["run"]["recipe"]["settings"]
    shown = ("total_steps", "batch_size", "train_resolution", "test_resolution", "test_margin")
    whole[0]["run"]["recipe"]["settings"] = {name: settings[name] for name in shown}
    refused, written = 0, 0
    for number, line in enumerate(whole):
        for content in damaged(line):
            lines = [*whole[:number], content, *whole[number + 1 :]]
            (tmp_path / "runs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
            try:
                render_study(STUDY, read_study_lines(tmp_path / "runs.jsonl"), "nfft study s")
            except UserError as error:
                assert "runs.jsonl" in str(error) and "\n" not in str(error)
                refused += 1
            else:
                written += 1
    assert refused > written > 0


def test_lines_of_a_newer_nfft_are_refused(tmp_path: Path) -> None:
    results, run = make_results(), replace(make_run(), versions={"nfft": "99.1"})
    record = StudyRecord(
        cell="c", row="BN", column="a", seed=0, split="test", count=1, top1=0.5, loss=1.0, weights="raw",
        candidates=results.candidates, training=results.training, run=run,
    )  # fmt: skip
    (tmp_path / "runs.jsonl").write_text(json.dumps(record.to_json()))
    with pytest.raises(UserError, match=r"was written by nfft 99\.1"):
        read_study_lines(tmp_path / "runs.jsonl")


def test_what_a_killed_study_was_writing_goes(tmp_path: Path) -> None:
    for name in (".runs.jsonl.0123abcd", ".study.png.0123abcd", ".README.md.0123abcd", ".notes.md.0123abcd"):
        (tmp_path / name).touch()
    write_study(STUDY, [], tmp_path, "nfft study x")
    assert {path.name for path in tmp_path.iterdir()} == {"runs.jsonl", ".notes.md.0123abcd"}
