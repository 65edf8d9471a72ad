"""What every trainer has before it sees an image: the network, its input, and a record of what cannot be read."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import set_seed

from nfft.data.decode import evaluation_view
from nfft.data.scan import BrokenImage
from nfft.data.splits import Split
from nfft.data.workers import sharing_lines
from nfft.distributed.accelerator import default_workers, set_threads
from nfft.evaluation.metrics import Predictions
from nfft.evaluation.predictor import Predictor
from nfft.models.build import build_network, check_side
from nfft.runs.folder import add_skipped
from nfft.runs.records import RunRecord, Skipped
from nfft.training.plan import Plan
from nfft.training.tracking import Tracker


@dataclass(frozen=True, kw_only=True)
class Effort:
    """What training took, as `nfft.runs.records.TrainingRecord` has it, without what only the run knows."""

    images: int
    seconds: float
    steps: int | None = None
    clipped: float | None = None
    l2: float | None = None


@dataclass(frozen=True)
class LastLayer:
    """The classifier of the last layer alone, beside one that sees several stages.

    Attributes:
        stages: of the other, as `nfft.runs.records.StagesRecord` has them.
        l2: its penalty.
        validation, test: its predictions; no `test` where there is no such split.
    """

    stages: tuple[int, ...]
    l2: float
    validation: Predictions
    test: Predictions | None


@dataclass(frozen=True)
class HeadStart:
    """What came of the classifier that a run starts from.

    Attributes:
        l2: its penalty.
        top1, loss: of it on validation, with the features of the checkpoint.
        images, seconds: what it took.
    """

    l2: float
    top1: float
    loss: float
    images: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a run ends with, the network aside.

    Attributes:
        weights: which of the candidates the network was left with.
        validation: predictions of each candidate.
        test: those of the weights that were kept; None where there is no test split.
        effort: what training took.
        last_layer: a second classifier, which loaders other than nfft have.
        head_start: the classifier that the first step found, where one was fitted.
    """

    weights: str
    validation: dict[str, Predictions]
    test: Predictions | None
    effort: Effort
    last_layer: LastLayer | None = None
    head_start: HeadStart | None = None


class BaseTrainer(ABC):
    """One run of `plan` before anything is trained.

    Args:
        plan: what to train, on what, how.
        accelerator: of this process.
        folder: the run folder.

    Attributes:
        network: with the checkpoint's weights, and a new classifier where it needs one.
        workers: loader processes.
        thread_lines: for people, where others are at work on the same cores.
        seconds: time since the run began, interruptions not included.
        record: run.json, once the run has begun.
    """

    record: RunRecord | None = None

    def __init__(self, plan: Plan, accelerator: Accelerator, folder: Path) -> None:
        self.plan, self.accelerator, self.folder = plan, accelerator, folder
        recipe = plan.recipe
        self.thread_lines = set_threads(recipe.threads, plan.config.began)
        set_seed(plan.config.seed)
        self.network = build_network(
            plan.checkpoint, plan.data.classes, dropout=recipe.dropout, stochastic_depth=recipe.stochastic_depth
        )
        self.check_side("test_resolution")
        self.workers = recipe.workers if recipe.workers is not None else default_workers(accelerator)
        self.began = time.monotonic()

    @abstractmethod
    def restore(self) -> list[str]:
        """Take up what an interrupted run has left; returns lines about what of it is damaged."""

    @abstractmethod
    def fit(self, tracker: Tracker, stop_requested: Callable[[], bool]) -> bool:
        """Train to the end; returns False when a stop was asked for and what there is has been saved.

        Args:
            tracker: is told of each step and evaluation; in processes other than the main one it tells nobody.
            stop_requested: polled once a step; when any process says yes, all stop after the same step.

        Raises:
            UserError: when training fails.
        """

    @abstractmethod
    def finish(self) -> Outcome:
        """Leave the network as it is to be saved, and score it."""

    @property
    @abstractmethod
    def reached(self) -> str:
        """How far the run has come, for people; nothing at its start."""

    @property
    @abstractmethod
    def step(self) -> int:
        """Optimizer steps that are done."""

    def check_side(self, name: str) -> None:
        """See that the network takes images of the resolution that the recipe calls `name`."""
        side = getattr(self.plan.recipe, name)
        check_side(self.network, self.plan.checkpoint.architecture, side, f"--set {name}=")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def loading_lines(self) -> list[str]:
        """Lines for people about how batches come from the loader's workers, where that is not as usual."""
        recipe = self.plan.recipe
        side = max(recipe.train_resolution, recipe.test_resolution)
        size = recipe.batch_size // (recipe.parts * self.accelerator.num_processes)
        return sharing_lines(max(1, size) * side**2 * 3, self.workers)

    def new_predictor(self, batch_size: int, *, keeps_views: bool = False) -> Predictor:
        """What scores this run's splits, as the saved network will be evaluated; arguments as for `Predictor`."""
        recipe, preprocessing = self.plan.recipe, self.plan.checkpoint.preprocessing
        return Predictor(
            self.accelerator,
            partial(evaluation_view, resolution=recipe.test_resolution, margin=recipe.test_margin),
            preprocessing["mean"],
            preprocessing["std"],
            workers=self.workers,
            batch_size=batch_size,
            keeps_views=keeps_views,
        )

    def note_broken(self, split: Split, broken: Sequence[BrokenImage]) -> None:
        """Add images that could not be read after all to skipped.jsonl, each once; from the main process."""
        if broken and self.accelerator.is_main_process:
            lines = [Skipped(split=split.name, image=split.where(image.index), reason=image.reason) for image in broken]
            add_skipped(self.folder, lines)
