"""The benchmarks run, as far as that can be seen in seconds and without a GPU."""

import importlib
import json
import runpy
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from processes import run

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KINDS = {"matmul", "step", "optimizer step", "rival", "loader", "fed"}
# Without which a script does not start: those of the extra "dev".
EXTRAS = {"against_timm": "psutil"}
# What a script makes of its arguments; architectures.py takes none.
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if "ArgumentParser" in path.read_text())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], str]:
    """Rows of a small run, and its table."""
    folder = tmp_path_factory.mktemp("gpu") / "small"
    done = run(BENCHMARKS / "gpu.py", "--small", "--output", folder)
    assert done.returncode == 0, done.stderr
    table = (folder / "table.md").read_text()
    assert done.stdout == table
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()], table


@pytest.mark.slow
def test_gpu_measures_every_kind_of_row(measured: tuple[list[dict], str]) -> None:
    rows, table = measured
    assert not [row["note"] for row in rows if row["what"] in ("failed", "skipped")]
    assert {row["what"] for row in rows} == KINDS
    ways = {"nfft", "timm", "nfft, compiled", "timm, compiled"}
    assert {row["by"] for row in rows if row["what"] == "step"} == ways
    lines = table.splitlines()
    assert len(lines) == len(rows) + 4
    assert len({line.count("|") for line in lines[2:]}) == 1


@pytest.mark.slow
def test_gpus_figures_agree_with_each_other(measured: tuple[list[dict], str]) -> None:
    rows, _ = measured
    for row in rows:
        assert all(value > 0 for value in row.values() if not isinstance(value, str))
        assert row.get("low", 0) <= row["ms"] <= row.get("high", float("inf"))
        if "images_per_second" in row:
            assert row["images_per_second"] == pytest.approx(1000 * row["images"] / row["ms"])
        if "after" in row:
            assert row["after_share"] == pytest.approx(row["after"] / row["ms"])
            assert row["after"] < row["high"]
            assert row["of_matmul"] == pytest.approx(row["tflops"] / rows[0]["tflops"])


@pytest.mark.slow
def test_gpus_ratios_are_quotients(measured: tuple[list[dict], str]) -> None:
    rows, _ = measured
    against = {"step": "timm", "optimizer step": "timm", "rival": "nfft", "loader": "timm, RandAugment like nfft's"}
    against["fed"] = "nfft, batch at hand"
    compared = [place for place, row in enumerate(rows) if "ratio" in row]
    assert {rows[place]["what"] for place in compared} == KINDS - {"matmul"}
    for place in compared:
        row = rows[place]
        wanted = row["what"], against[row["what"]] + (", compiled" if "compiled" in row["by"] else "")
        # What a row is compared with is not far.
        near = [other for other in rows[max(0, place - 2) : place + 3] if (other["what"], other.get("by")) == wanted]
        assert any(row["ratio"] == pytest.approx(row["ms"] / other["ms"]) for other in near)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpu")


def test_what_fails_or_takes_too_long_is_named(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> Iterator[object]:
        raise RuntimeError("no kernel image is available\nCompile with TORCH_USE_CUDA_DSA")

    def lasts() -> Iterator[object]:
        yield gpu.Row(what="step", ms=1.0)
        raise gpu.OutOfTime("cut off")

    parts = [("one", 0, fails), ("two", 0, lasts), ("three", 1000, fails), ("four", 0, fails)]
    monkeypatch.setattr(gpu, "plan", lambda *_: [gpu.Part(*part) for part in parts])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--output", str(tmp_path)])
    monkeypatch.setattr(gpu, "Scale", lambda: gpu.SMALL)
    monkeypatch.setattr(gpu.torch.backends.cudnn, "benchmark", False)
    gpu.main()
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [row["what"] for row in rows] == ["matmul", "failed", "step", "failed", "skipped", "failed"]
    assert rows[1]["note"].startswith("one: RuntimeError: no kernel image is available")
    assert rows[3]["note"].startswith("two: OutOfTime: cut off")
    assert rows[4]["note"].startswith("three: needs 1000 s")


def test_what_outlasts_its_time_is_cut_off(gpu: ModuleType) -> None:
    with pytest.raises(gpu.OutOfTime), gpu.at_most(0.01):
        signal.pause()


@pytest.mark.parametrize("name", SCRIPTS)
def test_says_what_it_does(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    assert stopped.value.code == 0
    assert f"python benchmarks/{name}.py" in capsys.readouterr().out
