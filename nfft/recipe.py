"""A recipe: every setting of a fine-tuning run, and how `--set` changes one."""

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from nfft.errors import UserError, nearest


@dataclass(frozen=True)
class Facts:
    """What a recipe may look at before it decides.

    Attributes:
        images: images to train on.
        classes: classes to tell apart.
        side: median over train images of the square root of their area, in px.
        architecture: timm's name of the network.
        train_side, test_side: px at which the checkpoint was trained and is evaluated by its makers.
        pretrained: whether there is a checkpoint, or random weights.
    """

    images: int
    classes: int
    side: int
    architecture: str
    train_side: int
    test_side: int
    pretrained: bool


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a run. `None` means absent, or "decide for me" where a line says so.

    Resolutions, `crop_*` and `test_margin` are in px or fractions; rates are per optimizer step.
    """

    # Duration: exactly one of the two; a step sees batch_size images, over all processes.
    total_steps: int | None = None
    epochs: float | None = None
    warmup_fraction: float
    batch_size: int

    # Optimisation: SGD with Nesterov momentum. `clipping` is AGC's lambda.
    lr: float
    momentum: float = 0.9
    weight_decay: float
    clipping: float | None
    ema_decay: float | None

    # Regularisation.
    label_smoothing: float = 0.0
    dropout: float = 0.0
    stochastic_depth: float = 0.0

    # Images. Crops cover at least crop_area of the picture, at aspect ratios up to crop_aspect.
    train_resolution: int
    test_resolution: int
    test_margin: int = 32
    crop_area: float = 0.08
    crop_aspect: float = 4 / 3
    flip: bool = True
    mixup: float | None = None
    cutmix: bool = False

    # How it runs: this changes a network without batch normalisation by rounding at most.
    # workers (loader processes) and threads (of a CPU, a process): None is by cores.
    accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    compile: bool = False
    workers: int | None = None
    threads: int | None = None
    evaluations: int = 10

    def __post_init__(self) -> None:
        if (self.total_steps is None) == (self.epochs is None):
            raise UserError(
                "a recipe needs exactly one of total_steps and epochs; "
                f"got total_steps={self.total_steps}, epochs={self.epochs}. Give --steps or --epochs alone."
            )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (low <= value <= high and math.isfinite(value)):
                bound = f"at least {low:g}" if high == float("inf") else f"between {low:g} and {high:g}"
                raise UserError(f"{name} must be {bound}; got {value}. Change it with --set {name}=...")

    def steps(self, images: int) -> int:
        """Optimizer steps of a run over `images` training images."""
        if self.total_steps is not None:
            return self.total_steps
        assert self.epochs is not None
        return max(1, round(self.epochs * images / self.batch_size))


_INF = float("inf")
_RANGES = {
    "total_steps": (1, _INF),
    "epochs": (1e-6, _INF),
    "warmup_fraction": (0, 1),
    "batch_size": (1, _INF),
    "lr": (0, _INF),
    "momentum": (0, 0.9999),
    "weight_decay": (0, _INF),
    "clipping": (1e-9, _INF),
    "ema_decay": (0, 0.9999999),
    "label_smoothing": (0, 0.9999),
    "dropout": (0, 0.9999),
    "stochastic_depth": (0, 0.9999),
    "train_resolution": (8, _INF),
    "test_resolution": (8, _INF),
    "test_margin": (0, _INF),
    "crop_area": (1e-6, 1),
    "crop_aspect": (1, _INF),
    "mixup": (1e-6, _INF),
    "accumulation_steps": (1, _INF),
    "workers": (0, _INF),
    "threads": (1, _INF),
    "evaluations": (1, _INF),
}


def read_changes(kind: type, changes: Mapping[str, Any], *, whose: str) -> dict[str, Any]:
    """`changes` with each text read as the type of its field.

    Args:
        kind: a dataclass, such as Recipe or Task.
        changes: field name to value; values that are not text are taken as they are.
        whose: what the fields belong to, for the error ("recipe", "task").

    Raises:
        UserError: for an unknown field (with the nearest name) or a value of another type.
    """
    hints = typing.get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    for name in changes:
        if name not in known:
            raise UserError(f"the {whose} has no setting {name!r}; {nearest(name, known)}")
    return {name: _read(name, value, hints[name]) for name, value in changes.items()}


def change(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """`recipe` with `changes` (read already); a duration replaces the other one."""
    durations = {"total_steps", "epochs"}
    if len(given := durations & changes.keys()) == 1:
        changes = {**changes, (durations - given).pop(): None}
    return replace(recipe, **changes)


def _read(name: str, value: Any, hint: Any) -> Any:
    """`value` as one of the types that `hint` allows."""
    accepted = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if not isinstance(value, str):
        return value
    text = value.strip()
    if types.NoneType in accepted and text.lower() in ("none", "null"):
        return None
    words = {"true": True, "false": False}
    if bool in accepted and text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        if kind in accepted:
            try:
                return kind(text)
            except ValueError:
                continue
    if str in accepted:
        return text
    names = {int: "a whole number", float: "a number", bool: "true or false", types.NoneType: "none"}
    described = " or ".join(names[kind] for kind in accepted if kind in names)
    raise UserError(
        f"{name} must be {described}; got {value!r}." if described else f"{name} can be set in a file alone."
    )
