"""A run that fits the classifier alone: every image goes through the body once, and a convex problem is solved."""

import hashlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from nfft.data.augment import ALTERED, CROPPED
from nfft.data.loader import AugmentedImages, EvaluationImages
from nfft.data.splits import Split
from nfft.errors import UserError
from nfft.evaluation.metrics import Predictions, predictions_of_logits
from nfft.machine import versions
from nfft.models.stages import StagedNetwork, linear, stage_features, widths_of
from nfft.optim.param_groups import classifier
from nfft.runs.folder import FEATURES
from nfft.runs.records import FeatureMetrics, SolutionMetrics
from nfft.training.base import BaseTrainer, Effort, LastLayer, Outcome
from nfft.training.plan import Plan
from nfft.training.probe.choices import Choice, Fitted, choices_of, penalties_of
from nfft.training.probe.features import BATCH, Features, extract_features, find_features
from nfft.training.probe.solver import CHUNK, Rows, Solution, path
from nfft.training.tracking import Tracker

# The path of penalties ends when so many in a row have not lowered the loss on validation.
PATIENCE = 2


class ProbeTrainer(BaseTrainer):
    """One run of `plan` that trains the classifier on what the network makes of the images.

    Args:
        l2: the penalty; the best of a path of them when absent.
        views: augmented views of each training image, beside the plain one.
        stages: whether to fit a second classifier, which sees every stage of the network.
    """

    def __init__(
        self, plan: Plan, accelerator: Accelerator, folder: Path, *, l2: float | None, views: int, stages: bool
    ) -> None:
        super().__init__(plan, accelerator, folder)
        self.l2, self.views = l2, views
        self.plan.method.prepare(self.network)
        self.head = classifier(self.network)
        if self.head.bias is None:
            raise UserError(
                f"{self.plan.checkpoint.architecture} has a classifier without bias, which cannot be fitted alone. "
                "Use another --method."
            )
        if self.views:
            self.check_side("train_resolution")
        side, architecture = self.plan.recipe.test_resolution, self.plan.checkpoint.architecture
        self.widths = widths_of(architecture, self.network, side) if stages else {}
        self.choices = choices_of(self.widths, self.head.weight.shape[1])
        self.predictor = self.new_predictor(BATCH)
        self.body: Any = self.predictor.folded(self.network.to(self.accelerator.device))
        self._check_features()
        self.found: dict[str, Features] = {}
        self.fitted: list[Fitted] = []
        self.solving = 0.0

    @torch.no_grad()
    def _check_features(self) -> None:
        """See that the classifier gets the features as they are kept, and nothing else."""
        side, inference = self.plan.recipe.test_resolution, self.predictor.inference
        images = torch.zeros(2, 3, side, side, dtype=torch.uint8)
        images[1] = 255
        pixels = inference.normalized(images)
        expected = inference.answers(self.body, pixels).float()
        features = inference.answers(self._features, pixels)[:, self.choices[0].first :]
        weight, bias = self.head.weight.flatten(1), self.head.bias
        found = F.linear(features, weight, bias) if features.shape[1] == weight.shape[1] else None
        if found is None or (found - expected).abs().max() > 0.1 * expected.abs().max() + 1e-3:
            raise UserError(
                f"{self.plan.checkpoint.architecture} does more to its features than multiply them by the classifier's "
                "weight, which cannot be fitted alone. Use another --method."
            )

    @property
    def step(self) -> int:
        return 0

    @property
    def reached(self) -> str:
        rows = sum(each.rows for each in self.found.values())
        return f"{rows:,} images" if rows else ""

    def restore(self) -> list[str]:
        for name, images, facts in self._wanted():
            self.found[name] = self._find(name, images.split, facts)
        self.began -= sum(each.seconds for each in self.found.values())
        return []

    def fit(self, tracker: Tracker, stop_requested: Callable[[], bool]) -> bool:
        for name, images, facts in self._wanted():
            # What an interrupted run has left was found when it was restored.
            found = self.found[name] = self.found.get(name) or self._find(name, images.split, facts)
            if not found.is_complete:
                complete = extract_features(
                    found,
                    images,
                    self.predictor,
                    lambda pixels: self._features(pixels).half(),
                    sum(self.widths.values()) + self.head.weight.shape[1],
                    self.accelerator,
                    stop_requested=stop_requested,
                    show=partial(tracker.progress, f"features of {name}", total=len(found.labels)),
                )
                if not complete:
                    return False
                self.note_broken(images.split, found.broken)
            if self.accelerator.is_main_process:
                tracker.log(FeatureMetrics(name=name, images=len(found.labels), seconds=found.seconds))
        stopped = self.accelerator.is_main_process and not self._solve(tracker, stop_requested)
        # The other processes wait here for the main one to be done.
        everyone = torch.tensor(float(stopped), device=self.accelerator.device)
        return self.accelerator.reduce(everyone, reduction="sum").item() == 0

    def finish(self) -> Outcome:
        if not self.accelerator.is_main_process:
            return Outcome("raw", {}, None, Effort(images=0, seconds=0.0))
        assert self.head.bias is not None
        last, best = self.fitted[0], min(self.fitted, key=lambda each: each.validation.loss)
        with torch.no_grad():
            self.head.weight.copy_(last.solution.weight.view_as(self.head.weight))
            self.head.bias.copy_(last.solution.bias)
        if best.choice.widths:
            # timm's network keeps its classifier; this one goes beside it.
            head = linear(best.solution.weight, best.solution.bias)
            self.network = StagedNetwork(self.network, best.choice.widths, head)
        tests = [
            self._predict("test", each.solution, each.choice) if "test" in self.found else None for each in (best, last)
        ]
        effort = Effort(
            l2=best.solution.l2,
            images=sum(len(features.labels) for features in self.found.values()),
            seconds=sum(features.seconds for features in self.found.values()) + self.solving,
        )
        return Outcome(
            weights="raw",
            validation={"raw": best.validation},
            test=tests[0],
            effort=effort,
            last_layer=self._last_layer(best.choice, last, tests[1]) if self.widths else None,
        )

    @staticmethod
    def _last_layer(choice: Choice, last: Fitted, test: Predictions | None) -> LastLayer:
        return LastLayer(choice.stages, last.solution.l2, last.validation, test)

    def _wanted(self) -> list[tuple[str, EvaluationImages, dict[str, Any]]]:
        """What goes through the network: a name, the images, and what tells them from others of this run."""
        data, recipe, seed = self.plan.data, self.plan.recipe, self.plan.config.seed
        sides = {"resolution": recipe.test_resolution, "margin": recipe.test_margin}
        wanted: list[tuple[str, EvaluationImages, dict[str, Any]]] = [
            (split.name, EvaluationImages(split, self.predictor.view), sides) for split in data.splits
        ]
        crops = {name: getattr(recipe, name) for name in CROPPED}
        crops |= {name: value for name in ALTERED if (value := getattr(recipe, name))}
        for epoch in range(self.views):
            images = AugmentedImages(data.train, recipe, seed, epoch)
            wanted.append((f"train-{epoch}", images, {**crops, "seed": seed, "epoch": epoch}))
        return wanted

    def _find(self, name: str, split: Split, facts: dict[str, Any]) -> Features:
        checkpoint = self.plan.checkpoint
        everything = {
            **facts,
            "data": self.plan.fingerprint,
            "split": split.name,
            "images": split.fingerprint or content_of(split),
            "rows": hashlib.sha256(split.rows.tobytes()).hexdigest(),
            "architecture": checkpoint.architecture,
            "arguments": dict(checkpoint.arguments),
            "mean": list(checkpoint.preprocessing["mean"]),
            "std": list(checkpoint.preprocessing["std"]),
            "weights": checkpoint.fingerprint,
            "precision": self.accelerator.mixed_precision,
            "versions": versions(),
            **({"stages": list(self.widths)} if self.widths else {}),
        }
        return find_features(self.folder / FEATURES / f"{name}.npy", split.labels, everything, self.accelerator)

    def _features(self, pixels: Tensor) -> Tensor:
        """Normalized images (n, 3, side, side) -> what classifiers get of them, (n, width)."""
        if self.widths:
            return stage_features(self.body, tuple(self.widths), pixels).float()
        return self.body.forward_head(self.body.forward_features(pixels), pre_logits=True).flatten(1).float()

    def _solve(self, tracker: Tracker, stop_requested: Callable[[], bool]) -> bool:
        """Fit a classifier to each choice of what it sees; False when a stop was asked for."""
        began = time.perf_counter()
        for choice in self.choices:
            fitted = self._fit(choice, tracker, stop_requested)
            if fitted is None:
                return False
            self.fitted.append(fitted)
        self.solving = time.perf_counter() - began
        return True

    def _fit(self, choice: Choice, tracker: Tracker, stop_requested: Callable[[], bool]) -> Fitted | None:
        """The solution of the path that does best on validation; None when a stop was asked for."""
        parts = [each.columns(choice.first) for name, each in self.found.items() if name.startswith("train")]
        rows = Rows(parts, self.accelerator.device)
        best, worse = None, 0
        for solution in path(rows, len(self.plan.data.classes), penalties_of(self.l2, self.fitted)):
            fitted = Fitted(choice, solution, self._predict("validation", solution, choice))
            tracker.log(metrics_of(fitted))
            # The loss: on a small split, the count of right answers says less than how right they are.
            if best is None or fitted.validation.loss < best.validation.loss:
                best, worse = fitted, 0
            else:
                worse += 1
            if worse == PATIENCE:
                break
            if stop_requested():
                return None
        return best

    def _predict(self, name: str, solution: Solution, choice: Choice) -> Predictions:
        found = self.found[name].columns(choice.first)
        chunks = found.chunks(CHUNK)
        outcomes = (
            (rows, torch.from_numpy(found.labels[rows]), solution.logits(found.values[rows])) for rows in chunks
        )
        return predictions_of_logits(outcomes, found.broken, found.seconds)


def metrics_of(fitted: Fitted) -> SolutionMetrics:
    """What metrics.jsonl says of a solution."""
    choice, solution, validation = fitted.choice, fitted.solution, fitted.validation
    return SolutionMetrics(
        l2=solution.l2,
        stages=choice.stages or None,
        iterations=solution.iterations,
        settled=None if solution.settled else False,
        train_loss=solution.loss,
        loss=validation.loss,
        top1=validation.top1,
    )


def content_of(split: Split) -> str:
    """Hash of the images of a split that are arrays in memory."""
    digest = hashlib.sha256()
    for index in range(len(split)):
        digest.update(np.ascontiguousarray(split[index]).tobytes())
    return digest.hexdigest()
