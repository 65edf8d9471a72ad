"""The record of a run has each step once, however often the run was stopped; several trackers are told the same."""

import json
import logging
from functools import partial
from pathlib import Path

import pytest
from metrics import FIGURES, SOLVED, metrics, results, start
from tqdm import tqdm

from nfft.runs.folder import METRICS, read_metrics
from nfft.training import tracking
from nfft.training.tracking import Everyone, MetricsFile, ProgressBar


def record(folder: Path, steps: range, first_step: int = 0) -> None:
    tracker = MetricsFile(folder)
    tracker.start(start(folder, first_step))
    for line in metrics(steps):
        tracker.log(line)


def test_records_every_step(tmp_path: Path) -> None:
    record(tmp_path, range(1, 11))
    assert read_metrics(tmp_path) == metrics(range(1, 11))
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert lines[0] == {"kind": "train", "step": 1, **FIGURES}
    assert lines[6] == {"kind": "validation", "step": 5, "weights": "ema", "loss": 1.25, "top1": 0.875}


@pytest.mark.parametrize("resumed_at", [3, 5, 7])
def test_lines_after_the_resumed_step_are_dropped(tmp_path: Path, resumed_at: int) -> None:
    record(tmp_path, range(1, 8))
    record(tmp_path, range(resumed_at + 1, 11), first_step=resumed_at)
    assert read_metrics(tmp_path) == metrics(range(1, 11))


def test_a_run_from_the_start_begins_an_empty_record(tmp_path: Path) -> None:
    record(tmp_path, range(1, 8))
    record(tmp_path, range(1, 2))
    assert read_metrics(tmp_path) == metrics(range(1, 2))


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    record(tmp_path, range(1, 5))
    path = tmp_path / METRICS
    path.write_text(path.read_text()[:-9])
    assert read_metrics(tmp_path) == metrics(range(1, 4))
    record(tmp_path, range(4, 11), first_step=3)
    assert read_metrics(tmp_path) == metrics(range(1, 11))


def test_lines_are_on_the_disk_at_once(tmp_path: Path) -> None:
    tracker = MetricsFile(tmp_path)
    tracker.start(start(tmp_path))
    tracker.log(metrics(range(1, 2))[0])
    assert read_metrics(tmp_path) == metrics(range(1, 2))


def test_no_record_yet(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_a_probes_lines_come_back(tmp_path: Path) -> None:
    tracker = MetricsFile(tmp_path)
    tracker.start(start(tmp_path))
    for line in SOLVED:
        tracker.log(line)
    assert read_metrics(tmp_path) == SOLVED


def test_nobody_is_told_where_nobody_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everyone = Everyone([])
    everyone.start(start(tmp_path))
    for line in metrics(range(1, 11)):
        everyone.log(line)
    everyone.progress("features of train", 5, 10)
    everyone.finish(tmp_path, results())
    everyone.tell(["pushed"])
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_in_process_there_is_a_bar_and_a_log_and_nothing_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="nfft")
    everyone = Everyone([ProgressBar(), MetricsFile(tmp_path)])
    everyone.start(start(tmp_path, notes=["mind the gap"]))
    for line in metrics(range(1, 11)):
        everyone.log(line)
    everyone.finish(tmp_path, results())
    out, err = capsys.readouterr()
    assert out == ""
    assert "10/10" in err
    assert "mind the gap" in caplog.text
    assert "step 5: validation top-1 of ema 0.8750" in caplog.text
    assert "test top-1 0.9926" in caplog.text


def test_bars_can_be_turned_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As TQDM_DISABLE=1 does.
    monkeypatch.setattr(tracking, "tqdm", partial(tqdm, disable=True))
    bar = ProgressBar()
    bar.start(start(tmp_path))
    for line in metrics(range(1, 11)):
        bar.log(line)
    bar.progress("features", 1, 2)
    assert capsys.readouterr().err == ""
