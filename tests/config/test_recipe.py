"""Settings are read as what they are, kept within their ranges, and one duration replaces the other."""

import math
import re
from dataclasses import asdict, replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from nfft.config import registry
from nfft.config.overrides import read_changes, read_config
from nfft.config.recipe import Facts, Recipe, change, clipping_for
from nfft.config.run_config import RunConfig
from nfft.config.task import Task
from nfft.data.randaugment import blanks
from nfft.errors import UserError

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
    ("name", "text", "expected"),
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
def test_reads(name: str, text: str, expected: Any) -> None:
    settings = read_changes(Recipe, {name: text}, whose="recipe")
    assert settings == {name: expected}
    assert type(settings[name]) is type(expected)


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
    settings = read_changes(Task, changes, whose="task")
    assert settings == {"source": "me/photos", "config": None, "test_fraction": 0.2, "validation": "dev"}
    with pytest.raises(UserError, match="the task has no setting 'lable'; did you mean 'label'"):
        read_changes(Task, {"lable": "x"}, whose="task")


def test_values_that_are_not_text_are_taken_as_they_are() -> None:
    settings = {"flip": False, "lr": 0.2, "weight_decay": 0, "clipping": None, "batch_size": 64}
    assert read_changes(Recipe, settings, whose="recipe") == settings


@pytest.mark.parametrize(("name", "value"), [("batch_size", np.int64(64)), ("lr", np.float32(0.5))])
def test_numbers_of_numpy_become_pythons(name: str, value: Any) -> None:
    settings = read_changes(Recipe, {name: value}, whose="recipe")
    assert settings == {name: value}
    assert type(settings[name]) in (int, float)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("lr", [0.1], "a number"),
        ("lr", None, "a number"),
        ("lr", True, "a number"),
        ("clipping", False, "a number or none"),
        ("batch_size", 64.0, "a whole number"),
        ("batch_size", True, "a whole number"),
        ("workers", 1.5, "a whole number or none"),
        ("flip", 1, "true or false"),
    ],
)
def test_values_of_another_type_are_refused_wherever_they_come_from(name: str, value: Any, words: str) -> None:
    said = f"^{re.escape(f'{name} must be {words}; got {value!r}.')}$"
    with pytest.raises(UserError, match=said):
        read_changes(Recipe, {name: value}, whose="recipe")
    with pytest.raises(UserError, match=said):
        replace(RECIPE, **{name: value})


def test_text_is_not_read_where_a_number_belongs() -> None:
    with pytest.raises(UserError, match=r"^lr must be a number; got '0\.1'\.$"):
        replace(RECIPE, lr="0.1")


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


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("clipping", 0, "above 0"),
        ("clipping", -1, "above 0"),
        ("sam_rho", -0.1, "at least 0"),
        ("sam_share", 0, "above 0 and at most 1"),
        ("sam_share", 1.5, "above 0 and at most 1"),
        ("ema_decay", 1, "at least 0 and below 1"),
        ("ema_decay", -0.1, "at least 0 and below 1"),
        ("epochs", 0, "above 0"),
        ("label_smoothing", 1, "at least 0 and below 1"),
        ("dropout", 1.5, "at least 0 and below 1"),
        ("crop_area", 0, "above 0 and at most 1"),
        ("crop_aspect", 0.9, "at least 1"),
        ("warmup_fraction", 1.1, "at least 0 and at most 1"),
        ("randaugment", 0, "above 0 and at most 30"),
        ("randaugment", 31, "above 0 and at most 30"),
        ("randaugment_layers", 0, "at least 1"),
        ("color_jitter", 0, "above 0 and at most 1"),
        ("color_jitter", 1.5, "above 0 and at most 1"),
        ("random_erasing", 0, "above 0 and at most 1"),
        ("random_erasing", 1.5, "above 0 and at most 1"),
        ("train_resolution", 7, "at least 8 and at most 4096"),
        ("test_resolution", 4097, "at least 8 and at most 4096"),
        ("batch_size", 0, "at least 1"),
    ],
)
def test_bounds_are_said_in_words(name: str, value: float, words: str) -> None:
    said = f"{name} must be {words}; got {value}. Change it with --set {name}=..."
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        replace(RECIPE, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [
        ("epochs", 1e308, 10**6), ("total_steps", 10**20, 10**9), ("batch_size", 10**20, 10**6), ("mixup", 1e308, 1000),
        ("threads", 300, 256), ("workers", 10**11, 256), ("evaluations", 3 * 10**8, 10**5), ("lr", 1e300, 10**6),
    ],
)  # fmt: skip
def test_what_no_run_can_mean_is_refused_before_any_is_planned(name: str, value: float, most: int) -> None:
    said = f"{name} must be at most {most}; got {value}. Change it with --set {name}=..."
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        read_config(RunConfig(task="digits", settings={name: str(value)}))
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        change(RECIPE, {name: value})


def test_a_number_of_any_length_is_quoted_in_short() -> None:
    with pytest.raises(UserError) as refused:
        replace(RECIPE, batch_size=10**5000)
    assert len(str(refused.value)) < 200


def test_an_image_is_seen_to_a_third_at_least() -> None:
    replace(RECIPE, test_resolution=64, test_margin=128)
    with pytest.raises(UserError, match="test_margin=129 leaves less than a third"):
        replace(RECIPE, test_resolution=64, test_margin=129)


NUMBERS = [name for name, hint in get_type_hints(Recipe).items() if float in (hint, *get_args(hint))]


@pytest.mark.parametrize("name", NUMBERS)
def test_nan_is_never_taken(name: str) -> None:
    for value in (math.nan, read_changes(Recipe, {name: "nan"}, whose="recipe")[name]):
        with pytest.raises(UserError, match=f"^{name} must be .*; got nan"):
            replace(RECIPE, **{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"clipping": 1e-9}, {"sam_rho": 0}, {"sam_share": 1}, {"ema_decay": 0}, {"ema_decay": 0.99999}, {"lr": 0},
        {"label_smoothing": 0}, {"crop_area": 1, "crop_aspect": 1}, {"warmup_fraction": 1}, {"randaugment": 30},
        {"color_jitter": 1}, {"random_erasing": 1}, {"trivialaugment": True},
    ],
)  # fmt: skip
def test_what_a_range_holds_is_taken(settings: dict) -> None:
    assert {name: getattr(replace(RECIPE, **settings), name) for name in settings} == settings


@pytest.mark.parametrize("name", ["clipping", "ema_decay", "mixup", "workers", "sam_rho", "randaugment"])
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
    with pytest.raises(UserError, match="exactly one of total_steps, epochs and minutes"):
        change(RECIPE, durations)


def test_steps() -> None:
    assert RECIPE.steps(images=320) == 100
    assert replace(RECIPE, epochs=0.01).steps(images=32) == 1
    assert replace(RECIPE, epochs=1).steps(images=100) == 3
    assert change(RECIPE, {"total_steps": 5}).steps(images=10**6) == 5


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [
        *((4096, 0.01), (2048, 0.01), (1024, 0.01)),
        *((1023, 0.02), (512, 0.02), (256, 0.04), (128, 0.08), (64, 0.16), (63, 0.16), (32, 0.16), (1, 0.16)),
    ],
)
def test_clipping_for_a_batch(batch_size: int, expected: float) -> None:
    assert clipping_for(batch_size) == pytest.approx(expected)


def facts(architecture: str = "dm_nfnet_f0", **changes: Any) -> Facts:
    known = Facts(
        images=1_281_167,
        classes=1000,
        side=430,
        architecture=architecture,
        train_side=192,
        test_side=256,
        pretrained=True,
    )
    return replace(known, **changes)


@pytest.mark.parametrize(
    ("images", "expected", "batch"),
    [(10_000, 2048, 2048), (2048, 2048, 2048), (2047, 2048, 1024), (1000, 4096, 512), (3, 64, 2), (1, 64, 1)],
)
def test_a_batch_is_as_large_as_the_data_fill(images: int, expected: int, batch: int) -> None:
    assert facts(images=images).batch(expected) == batch
    assert facts(images=images, requested_batch=48).batch(expected) == 48


PAPER = ["paper-nfnet", "paper-resnet", "imagenet", "convnets-at-scale"]


@pytest.mark.parametrize("asked", [0, -5])
@pytest.mark.parametrize("name", PAPER)
def test_a_batch_that_cannot_be_is_left_to_the_settings_to_refuse(name: str, asked: int) -> None:
    recipe = registry.recipe(name)(facts(requested_batch=asked))
    with pytest.raises(UserError, match=f"^batch_size must be at least 1; got {asked}"):
        change(recipe, {"batch_size": asked})


@pytest.mark.parametrize("name", ["paper-nfnet", "paper-resnet"])
def test_the_paper_fine_tunes_15_000_steps_with_a_third_of_warm_up(name: str) -> None:
    recipe = registry.recipe(name)(facts())
    assert (recipe.steps(1_281_167), recipe.batch_size, recipe.lr, recipe.ema_decay) == (15_000, 2048, 0.1, 0.9999)
    for total in (15_000, 300, 99):
        shorter = change(recipe, {"total_steps": total})
        assert round(shorter.warmup_fraction * shorter.steps(1_281_167)) == total // 3
    assert recipe.label_smoothing == 0
    assert (recipe.mixup, recipe.cutmix, recipe.randaugment) == (None, False, None)


def test_the_paper_fine_tunes_nfnets_with_sam_and_resnets_without_regularization() -> None:
    recipe = registry.recipe("paper-nfnet")(facts())
    assert (recipe.sam_rho, recipe.sam_share) == (0.05, 0.2)
    assert (recipe.weight_decay, recipe.dropout, recipe.stochastic_depth) == (1e-5, 0.25, 0.1)
    recipe = registry.recipe("paper-resnet")(facts("nf_resnet50"))
    assert recipe.sam_rho is None
    assert (recipe.weight_decay, recipe.dropout, recipe.stochastic_depth) == (0, 0, 0)
    assert recipe.clipping == 0.01
    assert registry.recipe("paper-resnet")(facts("bn_resnet50")).clipping is None


@pytest.mark.parametrize("name", ["paper-nfnet", "paper-resnet", "convnets-at-scale"])
@pytest.mark.parametrize(("asked", "clipping"), [(4096, 0.01), (512, 0.02), (128, 0.08), (16, 0.16)])
def test_fine_tuning_scales_lambda_with_the_batch_and_not_the_rate(name: str, asked: int, clipping: float) -> None:
    recipe = registry.recipe(name)(facts("nf_resnet50", requested_batch=asked))
    assert (recipe.batch_size, recipe.lr) == (asked, 0.1)
    assert recipe.clipping == pytest.approx(clipping)


def test_convnets_at_scale_is_50_epochs_at_384_px() -> None:
    recipe = registry.recipe("convnets-at-scale")(facts("dm_nfnet_f7_plus", train_side=480, test_side=608))
    assert (recipe.total_steps, recipe.epochs) == (None, 50)
    assert (recipe.train_resolution, recipe.test_resolution, recipe.sam_rho) == (384, 480, 0.05)


@pytest.mark.parametrize(
    ("asked", "batch_size", "lr", "clipping"),
    [(None, 4096, 1.6, 0.01), (4096, 4096, 1.6, 0.01), (1024, 1024, 0.4, 0.01), (512, 512, 0.2, 0.02),
     (96, 96, 0.0375, 0.16)],
)  # fmt: skip
def test_imagenet_follows_the_batch(asked: int | None, batch_size: int, lr: float, clipping: float) -> None:
    recipe = registry.recipe("imagenet")(facts(requested_batch=asked, pretrained=False))
    assert recipe.batch_size == batch_size
    assert (recipe.lr, recipe.clipping) == pytest.approx((lr, clipping))
    assert recipe.warmup_fraction * recipe.epochs == pytest.approx(5)
    assert (recipe.weight_decay, recipe.ema_decay, recipe.label_smoothing) == (2e-5, 0.99999, 0.1)
    assert (recipe.mixup, recipe.cutmix, recipe.randaugment_layers) == (0.2, True, 4)
    assert recipe.stochastic_depth == 0.25


# Train px, test px, dropout and RandAugment's magnitude of each variant, from Table 1 and the authors' code.
VARIANTS = {
    "dm_nfnet_f0": (192, 256, 0.2, 5),
    "dm_nfnet_f1": (224, 320, 0.3, 10),
    "dm_nfnet_f2": (256, 352, 0.4, 10),
    "dm_nfnet_f3": (320, 416, 0.4, 15),
    "dm_nfnet_f4": (384, 512, 0.5, 15),
    "dm_nfnet_f5": (416, 544, 0.5, 15),
    "dm_nfnet_f6": (448, 576, 0.5, 15),
    "dm_nfnet_f7": (480, 608, 0.5, 15),
    "dm_nfnet_f4_plus": (384, 512, 0.5, 15),
    "nfnet_f1": (224, 320, 0.3, 10),
}


@pytest.mark.parametrize("architecture", VARIANTS)
def test_imagenet_has_each_variants_sizes(architecture: str) -> None:
    recipe = registry.recipe("imagenet")(facts(architecture, train_side=99, test_side=99))
    settings = (recipe.train_resolution, recipe.test_resolution, recipe.dropout, recipe.randaugment)
    assert settings == VARIANTS[architecture]
    assert recipe.test_margin == 32


@pytest.mark.parametrize(
    ("side", "magnitude"),
    [(48, 1.2), (96, 2.5), (160, 4.2), (192, 5), (200, 5), (224, 10), (256, 10), (288, 10), (320, 15), (480, 15)],
)
def test_imagenet_distorts_other_networks_by_their_size(side: int, magnitude: float) -> None:
    recipe = registry.recipe("imagenet")(facts("eca_nfnet_l0", train_side=side, test_side=side + 64))
    assert recipe.randaugment == pytest.approx(magnitude)
    assert (recipe.train_resolution, recipe.test_resolution) == (side, side + 64)
    assert not blanks(magnitude, side)


def of_auto(**facts: Any) -> Recipe:
    known = {"images": 2640, "classes": 5, "side": 400, "train_side": 48, "test_side": 48, "pretrained": True}
    return registry.recipe("auto")(Facts(**{**known, "architecture": "test_nfnet", **facts}))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_another_optimizer_has_a_rate_of_its_own(name: str) -> None:
    sgd = of_auto()
    assert sgd.optimizer == "sgd" and change(sgd, {"optimizer": "sgd"}) == sgd
    other = change(sgd, {"optimizer": name})
    assert 0 < other.lr < sgd.lr
    # A weight without gradient shrinks as much a step; SGD's momentum adds it up.
    assert other.lr * other.weight_decay == pytest.approx(sgd.lr * sgd.weight_decay / (1 - sgd.momentum), rel=0.01)
    assert {**asdict(other), "lr": 0, "weight_decay": 0, "momentum": 0, "optimizer": ""} == {
        **asdict(sgd), "lr": 0, "weight_decay": 0, "momentum": 0, "optimizer": "",
    }  # fmt: skip
    back = change(other, {"optimizer": "sgd"})
    assert (back.lr, back.weight_decay) == pytest.approx((sgd.lr, sgd.weight_decay), rel=0.01)
    # Four times SGD's rate, as for a batch four times as large, is twice of it.
    faster = change(replace(sgd, lr=4 * sgd.lr), {"optimizer": name})
    assert faster.lr == pytest.approx(2 * other.lr, rel=0.01)


def test_a_rate_that_is_given_is_the_optimizers_own() -> None:
    given = change(of_auto(), {"optimizer": "adamw", "lr": 0.004})
    assert (given.lr, given.weight_decay) == (0.004, change(of_auto(), {"optimizer": "adamw"}).weight_decay)
    still = change(replace(of_auto(), lr=0.0), {"optimizer": "adamw", "weight_decay": 0.3})
    assert (still.lr, still.weight_decay) == (0.0, 0.3)
    assert change(given, {"optimizer": "adamw", "dropout": 0.1}).lr == 0.004


def test_an_optimizer_that_there_is_not() -> None:
    with pytest.raises(UserError, match=r"optimizer must be sgd or adamw or muon; got 'lamb'\."):
        read_changes(Recipe, {"optimizer": "lamb"}, whose="recipe")
