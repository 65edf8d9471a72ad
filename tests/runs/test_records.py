"""Records say in JSON what they hold, and read what earlier releases wrote."""

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import pytest
from run_records import make_results, make_run, make_scores, make_steps, make_validation

import nfft.experiments.records as of_studies
import nfft.runs.records as of_runs
from nfft.files import write_json
from nfft.runs.record import Record, read_record
from nfft.runs.records import (
    EvaluatedModel,
    EvaluatedTask,
    Evaluation,
    FeatureMetrics,
    Metrics,
    RecipeRecord,
    Results,
    RunRecord,
    SolutionMetrics,
    TrainingRecord,
    metrics_from_json,
)

DIGITS = Path(__file__).parents[2] / "cards" / "digits-nfnet-nano"
PROBE = TrainingRecord(l2=0.001, images=10, seconds=1.0, wall_seconds=2.0, images_per_second=10.0, peak_memory_bytes=0)


def kinds(module: ModuleType) -> list[type[Record]]:
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    return [value for value in own if isinstance(value, type) and issubclass(value, Record)]


@pytest.mark.parametrize("kind", [*kinds(of_runs), *kinds(of_studies)], ids=lambda kind: kind.__name__)
def test_every_entry_is_described(kind: type[Record]) -> None:
    text = "\n".join(base.__doc__ or "" for base in kind.__mro__)
    named = re.findall(r"^ +([a-z0-9_, ]+): ", text, re.MULTILINE)
    assert {field.name for field in fields(kind)} <= {name for names in named for name in names.split(", ")}


@pytest.mark.parametrize(("kind", "name"), [(RunRecord, "run.json"), (Results, "results.json")])
def test_a_run_of_an_earlier_release_is_read(kind: type[Record], name: str, tmp_path: Path) -> None:
    record = read_record(kind, DIGITS / name)
    write_json(tmp_path / name, record.to_json())
    assert read_record(kind, tmp_path / name) == record
    before, after = (DIGITS / name).read_text(), (tmp_path / name).read_text()
    if kind is Results:
        assert before == after, "to the byte: it has no words that have changed"


def test_words_of_an_earlier_release_are_understood() -> None:
    run = read_record(RunRecord, DIGITS / "run.json")
    assert (run.task.license, run.model.license, run.method.artifact) == ("CC BY 4.0", "other", "network")
    content = json.loads((DIGITS / "run.json").read_text())
    content["method"] = {"name": "lora", "settings": {"rank": 2}, "is_adapter": True, "fits_features": False}
    assert RunRecord.from_json(content).method.artifact == "adapter"
    del content["method"]
    assert RunRecord.from_json(content).method.name == "full", "once there were no others"


@pytest.mark.parametrize(
    "metrics",
    [
        make_steps(1)[0],
        make_validation(3, "ema"),
        FeatureMetrics(name="train", images=10, seconds=1.0),
        SolutionMetrics(l2=0.1, iterations=3, train_loss=0.1, loss=0.2, top1=0.9),
    ],
    ids=lambda metrics: metrics.kind,
)
def test_a_line_of_metrics_begins_with_its_kind(metrics: Metrics) -> None:
    content = json.loads(json.dumps(metrics.to_json()))
    assert next(iter(content)) == "kind"
    assert metrics_from_json(content) == metrics


@pytest.mark.parametrize("content", [None, [], {}, {"kind": "other"}, {"kind": ["train"]}, {"kind": "train"}])
def test_what_is_no_line_of_metrics(content: object) -> None:
    with pytest.raises(ValueError, match=r"no line of metrics|missing"):
        metrics_from_json(content)


def test_what_a_method_does_not_have_is_left_out() -> None:
    steps, probe = make_results().training, PROBE
    assert "l2" not in steps.to_json() and not steps.is_solved
    assert not {"steps", "clipped"} & probe.to_json().keys() and probe.is_solved
    results = replace(make_results(test=False), training=probe)
    assert results.to_json()["test"] is None, "what a run has or not is null"
    assert results.to_json()["training"] == probe.to_json()
    assert Results.from_json(results.to_json()) == results


def test_what_is_quoted() -> None:
    assert make_results().quoted.split == "test"
    assert make_results(test=False).quoted.split == "validation"
    assert make_scores().metric("mean_per_class") == 0.795


def test_of_an_evaluation_a_run_takes_what_a_card_shows() -> None:
    run = make_run()
    evaluation = Evaluation(
        task=EvaluatedTask(name="t", source="s"), scores=make_scores(), resolution=256, date="d", command="c",
        model=EvaluatedModel(name="m", architecture="a", fingerprint=None), precision="fp32", versions=run.versions,
        hardware=run.hardware,
    )  # fmt: skip
    assert evaluation.added().to_json().keys() == {"task", "scores", "resolution", "date", "command"}
    assert evaluation.added().scores == evaluation.scores


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "Expected a whole number, got None - at `settings.test_"),
        ({"test_resolution": 48, "test_margin": "6"}, "got '6' - at `settings.test_margin`"),
        ({"test_resolution": True, "test_margin": 6}, "got True - at `settings.test_resolution`"),
        ({"test_resolution": 48, "test_margin": 6, "batch_size": 1.5}, "got 1.5 - at `settings.batch_size`"),
    ],
)
def test_settings_that_cards_compute_with_are_numbers(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RecipeRecord(name="auto", settings=settings)


@pytest.mark.parametrize(
    "changes", [{"top1": 1.1}, {"top1": -0.1}, {"confusion": ((0, 3, 1),)}, {"confusion": ((0, 0, 0),)}]
)
def test_scores_that_cannot_be(changes: dict) -> None:
    with pytest.raises(ValueError, match="Expected"):
        make_scores(**changes)
