"""The record of a run has each step once, however often the run was stopped."""

import io
import json
from pathlib import Path

import pytest

from nfft.training.tracking import Report, read_metrics

FIGURES = {"loss": 2.5, "top1": 0.25, "lr": 0.1, "clipped": 0.5, "images_per_second": 1234.5}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def record(folder: Path, steps: range, first_step: int = 0, stream: io.StringIO | None = None) -> list[dict]:
    with Report(folder, 10, first_step, speaks=True, stream=stream or io.StringIO()) as report:
        for step in steps:
            report.step(step, **FIGURES)
            if step % 5 == 0:
                report.validation(step, {"raw": (1.5, 0.75), "ema": (1.25, 0.875)})
    return report.lines


def shape(lines: list[dict]) -> list[tuple]:
    return [(line["step"], line["kind"], line.get("weights")) for line in lines]


WHOLE = [
    *((step, "train", None) for step in range(1, 6)), (5, "validation", "raw"), (5, "validation", "ema"),
    *((step, "train", None) for step in range(6, 11)), (10, "validation", "raw"), (10, "validation", "ema"),
]  # fmt: skip


def test_records_every_step(tmp_path: Path) -> None:
    lines = record(tmp_path, range(1, 11))
    assert shape(lines) == WHOLE
    assert read_metrics(tmp_path / "metrics.jsonl") == lines
    assert lines[0] == {"kind": "train", "step": 1, **FIGURES}
    assert lines[6] == {"kind": "validation", "step": 5, "weights": "ema", "loss": 1.25, "top1": 0.875}


@pytest.mark.parametrize("resumed_at", [3, 5, 7])
def test_lines_after_the_resumed_step_are_dropped(tmp_path: Path, resumed_at: int) -> None:
    record(tmp_path, range(1, 8))
    lines = record(tmp_path, range(resumed_at + 1, 11), first_step=resumed_at)
    assert shape(lines) == WHOLE
    assert read_metrics(tmp_path / "metrics.jsonl") == lines


def test_a_run_from_the_start_begins_an_empty_record(tmp_path: Path) -> None:
    record(tmp_path, range(1, 8))
    assert shape(record(tmp_path, range(1, 2))) == WHOLE[:1]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    record(tmp_path, range(1, 5))
    path = tmp_path / "metrics.jsonl"
    text = path.read_text()
    path.write_text(text[:-9])
    assert shape(read_metrics(path)) == WHOLE[:3]
    assert shape(record(tmp_path, range(4, 11), first_step=3)) == WHOLE
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_lines_are_on_the_disk_at_once(tmp_path: Path) -> None:
    with Report(tmp_path, 10, 0, speaks=True, stream=io.StringIO()) as report:
        report.step(1, **FIGURES)
        assert shape(read_metrics(tmp_path / "metrics.jsonl")) == WHOLE[:1]


def test_no_record_yet(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "absent.jsonl") == []


def test_other_processes_write_and_show_nothing(tmp_path: Path) -> None:
    stream = io.StringIO()
    with Report(tmp_path, 10, 0, speaks=False, stream=stream) as report:
        report.step(10, **FIGURES)
        report.validation(10, {"raw": (1.5, 0.75)})
    assert stream.getvalue() == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_shows_the_last_step_and_evaluations(tmp_path: Path, stream: io.StringIO) -> None:
    record(tmp_path, range(1, 11), stream=stream)
    shown = stream.getvalue()
    assert "step 10/10" in shown
    assert "loss 2.500 · top-1 25.0% · lr 0.1 · clipped 50.0% · 1,234 img/s" in shown
    assert "step 5: validation top-1 raw 75.0%, ema 87.5%" in shown
