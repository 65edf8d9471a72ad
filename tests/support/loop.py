"""The trainer's loop over batches that a test makes: no images, no files, no processes but its own."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

from accelerate import Accelerator
from torch import Tensor

from nfft.config.recipe import Recipe
from nfft.data.loader import Batch
from nfft.runs.records import StepMetrics
from nfft.training.step import Training
from nfft.training.tracking import Everyone
from nfft.training.trainer import Tally, Trainer


class Recorder(Everyone):
    """Keeps the metrics that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[StepMetrics] = []

    def log(self, metrics: StepMetrics) -> None:
        self.metrics.append(metrics)


class Loop(Trainer):
    """Steps of `training` over `batches`, neither evaluated nor saved."""

    def __init__(
        self,
        training: Training,
        batches: Iterator[Batch],
        recipe: Recipe,
        accelerator: Accelerator,
        *,
        total_steps: int,
        seed: int = 0,
        to_input: Callable[[Tensor], Tensor] = Tensor.float,
    ) -> None:
        self.training, self.batches, self.accelerator = training, batches, accelerator
        self.plan = SimpleNamespace(
            recipe=recipe,
            config=SimpleNamespace(seed=seed),
            total_steps=total_steps,
            data=SimpleNamespace(learned=None, validation=None),
        )
        self.predictor = SimpleNamespace(inference=SimpleNamespace(normalized=to_input))
        self.tally, self.saved, self.lesson, self.began = Tally(), None, None, time.monotonic()
        self.saved_at = self.measured_at = self.began
        self.saves: list[int] = []

    def _train_loader(self, recipe: Recipe, steps: range) -> Iterator[Batch]:
        return self.batches

    def _validate(self, tracker: Everyone) -> None:
        pass

    def save(self) -> None:
        self.saves.append(self.step)

    def note_broken(self, *_: object) -> None:
        pass


def steps_of(
    training: Training,
    batches: Iterator[Batch],
    recipe: Recipe,
    accelerator: Accelerator,
    *,
    total_steps: int,
    stop_requested: Callable[[], bool] = lambda: False,
    **settings: object,
) -> list[StepMetrics]:
    """The metrics of the steps that are left, or of those until someone asks to stop."""
    recorder = Recorder()
    Loop(training, iter(batches), recipe, accelerator, total_steps=total_steps, **settings).fit(
        recorder, stop_requested
    )
    return recorder.metrics
