"""Settings are read as what they are, kept within their ranges, and one duration replaces the other."""

from dataclasses import replace
from typing import Any

import pytest

from nfft.errors import UserError
from nfft.recipe import Recipe, change, read_changes
from nfft.task import Task

RECIPE = Recipe(
    epochs=10,
    warmup_fraction=0.1,
    batch_size=32,
    lr=0.1,
    weight_decay=0,
    clipping=0.01,
    ema_decay=0.999,
    train_resolution=64,
    test_resolution=64,
)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("lr", "0.3", 0.3),
        ("lr", "1e-3", 0.001),
        ("lr", "1", 1.0),
        ("epochs", "12.5", 12.5),
        ("epochs", "none", None),
        ("batch_size", " 64 ", 64),
        ("total_steps", "15000", 15_000),
        ("clipping", "None", None),
        ("mixup", "null", None),
        ("mixup", "0.2", 0.2),
        ("workers", "0", 0),
        ("flip", "False", False),
        ("flip", "true", True),
    ],
)
def test_reads(name: str, text: str, wanted: Any) -> None:
    found = read_changes(Recipe, {name: text}, whose="recipe")
    assert found == {name: wanted}
    assert type(found[name]) is type(wanted)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("batch_size", "1.5", "batch_size must be a whole number; got '1.5'"),
        ("batch_size", "none", "batch_size must be a whole number; got 'none'"),
        ("flip", "1", "flip must be true or false; got '1'"),
        ("lr", "fast", "lr must be a number; got 'fast'"),
        ("clipping", "", "clipping must be a number or none; got ''"),
        ("total_steps", "1e4", "total_steps must be a whole number or none; got '1e4'"),
        ("learning_rate", "1", "the recipe has no setting 'learning_rate'"),
        ("wieght_decay", "1", "did you mean 'weight_decay'"),
        ("droput", "1", "did you mean 'dropout'"),
    ],
)
def test_refuses(name: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_changes(Recipe, {name: text}, whose="recipe")


def test_reads_a_tasks_settings() -> None:
    changes = {"source": "me/photos", "config": "none", "test_fraction": "0.2", "validation": "dev"}
    found = read_changes(Task, changes, whose="task")
    assert found == {"source": "me/photos", "config": None, "test_fraction": 0.2, "validation": "dev"}
    with pytest.raises(UserError, match="the task has no setting 'lable'; did you mean 'label'"):
        read_changes(Task, {"lable": "x"}, whose="task")


def test_values_that_are_not_text_are_taken_as_they_are() -> None:
    assert read_changes(Recipe, {"flip": False, "lr": 0.2}, whose="recipe") == {"flip": False, "lr": 0.2}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", -0.1), ("lr", float("nan")), ("lr", float("inf")), ("epochs", 0), ("epochs", float("inf")),
        ("batch_size", 0), ("momentum", 1.0), ("ema_decay", 1.0), ("dropout", 1), ("stochastic_depth", -0.1),
        ("label_smoothing", 1), ("clipping", 0), ("mixup", 0), ("crop_area", 0), ("crop_area", 1.5),
        ("crop_aspect", 0.5), ("train_resolution", 4), ("test_margin", -1), ("warmup_fraction", 1.1),
        ("accumulation_steps", 0), ("workers", -1), ("evaluations", 0), ("weight_decay", -1e-5),
    ],
)  # fmt: skip
def test_out_of_range(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^{name} must be .*; got {value}.*--set {name}="):
        replace(RECIPE, **{name: value})


@pytest.mark.parametrize("name", ["clipping", "ema_decay", "mixup", "workers"])
def test_none_is_absent(name: str) -> None:
    assert getattr(replace(RECIPE, **{name: None}), name) is None


def test_one_duration_replaces_the_other() -> None:
    steps = change(RECIPE, {"total_steps": 7})
    assert (steps.total_steps, steps.epochs) == (7, None)
    epochs = change(steps, {"epochs": 3.0})
    assert (epochs.total_steps, epochs.epochs) == (None, 3.0)
    assert change(RECIPE, {"lr": 0.5}) == replace(RECIPE, lr=0.5)


@pytest.mark.parametrize("durations", [{"total_steps": 7, "epochs": 1.0}, {"total_steps": None, "epochs": None}])
def test_exactly_one_duration(durations: dict) -> None:
    with pytest.raises(UserError, match="exactly one of total_steps and epochs"):
        change(RECIPE, durations)


def test_steps() -> None:
    assert RECIPE.steps(images=320) == 100
    assert replace(RECIPE, epochs=0.01).steps(images=32) == 1
    assert replace(RECIPE, epochs=1).steps(images=100) == 3
    assert change(RECIPE, {"total_steps": 5}).steps(images=10**6) == 5
