"""Time as a budget: how many steps fit into the minutes that a run may take, by what a few of them take here."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from accelerate import Accelerator

from nfft.config.recipe import Recipe
from nfft.distributed.accelerator import of_all
from nfft.errors import UserError
from nfft.training.step import Training

# Of the minutes, what may go into looking how fast it goes; and the seconds at which that is known well enough.
TRIAL_SHARE, TRIAL_SECONDS = 0.03, 20.0
TRIAL_STEPS = 50
# Of the minutes, what evaluations on the way may take.
EVALUATION_SHARE = 0.15
# Weights, plots and the card, on a core of 2020.
WRITING_SECONDS = 4.0


@dataclass(frozen=True)
class Pace:
    """What the parts of a run take on this machine, in seconds.

    Attributes:
        step: one step of the optimizer.
        score: scoring the validation split by one set of weights.
        end: scoring what the end scores, and writing the run down.
    """

    step: float
    score: float
    end: float


def fitted(recipe: Recipe, pace: Pace, spent: float) -> Recipe:
    """`recipe` with the steps that fit into its minutes, and no more evaluations than leave time to train.

    Args:
        spent: seconds that are gone already.

    Raises:
        UserError: when not one step does.
    """
    assert recipe.minutes is not None
    seconds = 60 * recipe.minutes
    on_the_way = int(EVALUATION_SHARE * seconds / pace.score)
    evaluations = min(recipe.evaluations, 1 + on_the_way)
    left = seconds - spent - pace.end
    steps = int((left - (evaluations - 1) * pace.score) / pace.step)
    if steps < 1:
        least = (spent + pace.end + 10 * pace.step) / 60
        raise UserError(
            f"--minutes {recipe.minutes:g} is too short: the start took {spent:.0f} s here, scoring and writing take "
            f"about {pace.end:.0f} s, and a step {pace.step:.2g} s. Use --minutes {math.ceil(10 * least) / 10:g} or "
            "more."
        )
    return replace(recipe, total_steps=steps, evaluations=min(evaluations, steps))


def mean_pixels(recipe: Recipe) -> float:
    """What a step of a run costs, of one at train_resolution: about as many pixels as its images have."""
    sides = [recipe.train_side(step, TRIAL_STEPS) for step in range(TRIAL_STEPS)]
    return statistics.mean((side / recipe.train_resolution) ** 2 for side in sides)


def usual_seconds(work: Iterable[Callable[[], Any]], recipe: Recipe, processes: int) -> float:
    """What one of several pieces of work takes, the first left out: it allocates, compiles and searches.

    Each process does the same pieces, of which the slowest one counts.
    """
    assert recipe.minutes is not None
    limit = min(TRIAL_SECONDS, TRIAL_SHARE * 60 * recipe.minutes)
    laps: list[float] = []
    for piece in work:
        began = time.perf_counter()
        piece()
        laps.append(max(of_all([time.perf_counter() - began], processes)))
        if len(laps) > 1 and sum(laps) > limit:
            break
    # A trial is short: the mean would take a moment's hiccup for the run's.
    return statistics.median(laps[1:] or laps)


@contextmanager
def rehearsal(training: Training, accelerator: Accelerator) -> Iterator[None]:
    """Let steps be taken of which nothing stays: weights, momentum, average and the scaler of fp16 are put back."""
    scaler = accelerator.scaler
    scale = scaler.state_dict() if scaler is not None else None
    before = {name: tensor.clone() for name, tensor in training.state().items()}
    try:
        yield
    finally:
        training.optimizer.zero_grad()
        training.optimizer.state.clear()
        training.load(before, 0)
        if scaler is not None and scale is not None:
            scaler.load_state_dict(scale)
