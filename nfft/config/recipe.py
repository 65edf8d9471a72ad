"""A recipe: every setting of a fine-tuning run, and how `--set` changes one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from annotated_types import Interval, Le

from nfft.config.fields import check_bounds, check_type, expectations, incidental, shown
from nfft.config.optimizer import OptimizerName, usual_settings
from nfft.errors import UserError
from nfft.optim.schedule import train_side


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
        requested_batch: the batch size, if a setting names one.
        validation: images to validate on; 0 where nobody says.
    """

    images: int
    classes: int
    side: int
    architecture: str
    train_side: int
    test_side: int
    pretrained: bool
    requested_batch: int | None = None
    validation: int = 0

    def batch(self, size: int) -> int:
        """The batch size to make settings for: the requested one, else `size`, or less where the data do not fill that.

        Less is the largest power of two that they fill.
        """
        # One below 1 is refused later, where it is a setting like any other.
        requested = max(0, self.requested_batch or 0)
        return requested or min(size, 2 ** (max(1, self.images).bit_length() - 1))


DURATIONS = ("total_steps", "epochs", "minutes")
# Each is a copy of the network.
MOST_AVERAGES = 8


def clipping_for(batch_size: int) -> float:
    """AGC's lambda for a batch: 0.01 from 1,024 images on, twice that for half of them, at most 0.16.

    Source: arXiv 2102.06171, section 4.1 and Figure 2: 0.01 for 1,024 to 4,096, larger for smaller batches, 0.16 the
    largest tried.
    Differs: the paper gives no formula; doubling is the line through what it tried.
    """
    return min(0.16, 0.01 * 2 ** math.ceil(max(0.0, math.log2(1024 / batch_size))))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a run. `None` means absent, or "decide for me" where a line says so.

    Resolutions, `crop_*` and `test_margin` are in px or fractions; rates are per optimizer step.
    """

    # Duration: exactly one of the three; a step sees batch_size images, over all processes. Minutes are those of the
    # whole run, its scores and files included; total_steps comes beside them once it is known how many they are.
    total_steps: Annotated[int, Interval(ge=1), Le(1_000_000_000)] | None = None
    epochs: Annotated[float, Interval(gt=0), Le(1_000_000)] | None = None
    minutes: Annotated[float, Interval(gt=0), Le(1_000_000)] | None = None
    warmup_fraction: Annotated[float, Interval(ge=0, le=1)]
    batch_size: Annotated[int, Interval(ge=1), Le(1_000_000)]

    # Optimization: SGD with Nesterov momentum, AdamW or Muon, whose own the rate is; `momentum` is AdamW's first beta.
    # `weight_decay` is part of the gradient for SGD; the others take it off the weights, times the rate.
    # `clipping` is AGC's lambda; `sam_rho` the length of SAM's ascent,
    # whose gradient is of the share `sam_share` of each part of a batch. A gain is clipped as a whole, and the decay of
    # the average warms up, unless one wants to see what timm's habits cost.
    optimizer: OptimizerName = "sgd"
    lr: Annotated[float, Interval(ge=0), Le(1_000_000)]
    momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Interval(ge=0), Le(1_000_000)]
    clipping: Annotated[float, Interval(gt=0), Le(1_000_000_000)] | None
    clip_whole_gains: bool = True
    sam_rho: Annotated[float, Interval(ge=0), Le(1_000_000)] | None = None
    sam_share: Annotated[float, Interval(gt=0, le=1)] = 0.2
    ema_decay: Annotated[float, Interval(ge=0, lt=1)] | None
    ema_warmup: bool = True

    # More weights for validation to choose from at the end, beside the raw ones and the average: averages of constant
    # decays, such as 0.99,0.999, with the uniform soup of all these; and the mean of the raw weights at the last so
    # many evaluations. Each takes room for a copy of the network, and another scoring of the validation split.
    averages: str | None = None
    soup_of_last: Annotated[int, Interval(ge=2, le=100)] | None = None

    # Regularization.
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    stochastic_depth: Annotated[float, Interval(ge=0, lt=1)] = 0.0

    # What is learned from --teacher: the share of its probabilities in the targets of images with labels (None is half,
    # or 0 where there are images without, whose targets they are); by what its logits are divided first (None is 1);
    # and how probable its first class must be for an image without a label to be used (None is any).
    distill_weight: Annotated[float, Interval(ge=0, le=1)] | None = None
    distill_temperature: Annotated[float, Interval(gt=0), Le(1_000)] | None = None
    distill_confidence: Annotated[float, Interval(ge=0, lt=1)] | None = None

    # Images. Crops cover at least crop_area of the picture, at aspect ratios up to crop_aspect.
    # Training begins at first_resolution, if there is one, and has train_resolution after growth_fraction of its steps.
    train_resolution: Annotated[int, Interval(ge=8, le=4096)]
    first_resolution: Annotated[int, Interval(ge=8, le=4096)] | None = None
    growth_fraction: Annotated[float, Interval(gt=0, le=1)] = 0.75
    test_resolution: Annotated[int, Interval(ge=8, le=4096)]
    test_margin: Annotated[int, Interval(ge=0)] = 32
    crop_area: Annotated[float, Interval(gt=0, le=1)] = 0.08
    crop_aspect: Annotated[float, Interval(ge=1), Le(1_000)] = 4 / 3
    flip: bool = True
    # One random operation, changes of brightness, contrast and saturation by up to that share, and the probability that
    # a rectangle is filled with noise: of each image by itself, in this order, before any are mixed.
    trivialaugment: bool = False
    color_jitter: Annotated[float, Interval(gt=0, le=1)] | None = None
    random_erasing: Annotated[float, Interval(gt=0, le=1)] | None = None
    # MixUp's alpha; RandAugment's magnitude and how many operations it applies, after mixing.
    mixup: Annotated[float, Interval(gt=0), Le(1_000)] | None = None
    cutmix: bool = False
    randaugment: Annotated[float, Interval(gt=0, le=30)] | None = None
    randaugment_layers: Annotated[int, Interval(ge=1), Le(100)] = 4

    # How it runs: this changes a network without batch normalization by rounding at most (and where SAM climbs from).
    # accumulation_steps (parts of a batch in each process): None is as few as fit in memory.
    # workers (loader processes) and threads (of a CPU, a process): None is by cores.
    accumulation_steps: Annotated[int, Interval(ge=1), Le(1_000_000)] | None = None
    gradient_checkpointing: bool = False
    compile: bool = False
    workers: Annotated[int, Interval(ge=0), Le(256)] | None = incidental(default=None)
    threads: Annotated[int, Interval(ge=1), Le(256)] | None = incidental(default=None)
    evaluations: Annotated[int, Interval(ge=1), Le(100_000)] = 10

    def __post_init__(self) -> None:
        check_settings({name: getattr(self, name) for name in expectations(Recipe)})
        durations = [self.epochs, self.total_steps if self.minutes is None else self.minutes]
        if sum(duration is not None for duration in durations) != 1:
            raise _durations_refused({name: getattr(self, name) for name in DURATIONS})
        if self.first_resolution is not None and self.first_resolution > self.train_resolution:
            raise UserError(
                f"first_resolution={self.first_resolution} is more than train_resolution={self.train_resolution}, to "
                f"which training is to grow. Use --set first_resolution={self.train_resolution} or less."
            )
        if self.test_margin > 2 * self.test_resolution:
            raise UserError(
                f"test_margin={self.test_margin} leaves less than a third of an image to be seen at "
                f"test_resolution={self.test_resolution}. Use --set test_margin={2 * self.test_resolution} or less."
            )
        decays_of(self.averages)
        # Of a run by the minute, there are as many evaluations as fit.
        if self.soup_of_last is not None and self.soup_of_last > self.evaluations and self.minutes is None:
            raise UserError(
                f"soup_of_last={self.soup_of_last}: a run of evaluations={self.evaluations} has no more. Use --set "
                f"evaluations={self.soup_of_last}, or a smaller soup_of_last."
            )

    @property
    def parts(self) -> int:
        """Micro-batches that each process takes its share of a batch in."""
        return self.accumulation_steps or 1

    def train_side(self, step: int, total_steps: int) -> int:
        """Side in px of the images that an optimizer step sees, 0 being the first."""
        if self.first_resolution is None:
            return self.train_resolution
        return train_side(
            step,
            first=self.first_resolution,
            last=self.train_resolution,
            total_steps=total_steps,
            growth_fraction=self.growth_fraction,
        )

    def steps(self, images: int) -> int:
        """Optimizer steps of a run over `images` training images, once they are known."""
        if self.total_steps is not None:
            return self.total_steps
        assert self.epochs is not None, "how many fit into minutes is known once some have been taken"
        return max(1, round(self.epochs * images / self.batch_size))


def decays_of(averages: str | None) -> tuple[float, ...]:
    """The decays that the setting `averages` names, as they stand there.

    Raises:
        UserError: for what is no decay, one that is named twice, or too many.
    """
    if averages is None:
        return ()
    try:
        decays = tuple(float(text) for text in averages.split(","))
    except ValueError:
        decays = ()
    is_each = all(0 <= decay < 1 for decay in decays) and len(set(decays)) == len(decays)
    if not (is_each and 1 <= len(decays) <= MOST_AVERAGES):
        raise UserError(
            f"averages must be up to {MOST_AVERAGES} decays of at least 0 and below 1 with commas between them, each "
            f"once, such as 0.99,0.999; got {shown(averages)}. Change it with --set averages=..."
        )
    return decays


def check_settings(settings: Mapping[str, Any]) -> None:
    """See that settings of a recipe are of their types and within their bounds.

    Raises:
        UserError: naming the first that is not, and what it must be.
    """
    for name, expected in expectations(Recipe).items():
        if name in settings:
            check_type(name, settings[name], expected)
            check_bounds(name, settings[name], expected, mend=f"Change it with --set {name}=...")


# Of a run that learns from a teacher.
DISTILLING = ("distill_weight", "distill_temperature", "distill_confidence")

# Settings that say how something is done, and those that say whether it is.
_DETAILS = {
    "clip_whole_gains": "clipping",
    "sam_share": "sam_rho",
    "ema_warmup": "ema_decay",
    "randaugment_layers": "randaugment",
    "growth_fraction": "first_resolution",
}


def matters(settings: Mapping[str, Any], name: str) -> bool:
    """Whether a setting has any part in the run: none has that is absent, or a detail of what is."""
    return settings[name] is not None and settings[_DETAILS.get(name, name)] is not None


def _durations_refused(durations: Mapping[str, Any]) -> UserError:
    listed = ", ".join(f"{name}={value}" for name, value in durations.items())
    return UserError(
        f"a recipe needs exactly one of total_steps, epochs and minutes; got {listed}. Give --steps, --epochs or "
        "--minutes alone."
    )


def change(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """`recipe` with `changes` (read already); a duration replaces any other, and an optimizer has a rate of its own."""
    changed = [name for name in DURATIONS if changes.get(name) is not None]
    if len(changed) > 1:
        raise _durations_refused({name: changes[name] for name in changed})
    if changed:
        changes = {**dict.fromkeys(DURATIONS), **changes}
    if (name := changes.get("optimizer", recipe.optimizer)) != recipe.optimizer:
        now = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "momentum": recipe.momentum}
        changes = {**usual_settings(name, instead_of=recipe.optimizer, **now), **changes}
    return replace(recipe, **changes)
