"""The paper's training of a network: the loop, with evaluation, checkpoints and resumption around each step."""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader

from nfft.config.recipe import Recipe
from nfft.data.decode_cache import Decoded, fill_cache, fits_cache
from nfft.data.loader import train_loader
from nfft.data.scan import BrokenImage
from nfft.data.splits import Split
from nfft.data.workers import end_workers
from nfft.distributed.accelerator import of_all
from nfft.errors import LocalError, UserError
from nfft.evaluation.metrics import Predictions
from nfft.files import sync
from nfft.models.build import is_normalized
from nfft.optim.schedule import learning_rate
from nfft.runs.folder import CHECKPOINTS, FEATURES, METRICS
from nfft.runs.records import StepMetrics, ValidationMetrics
from nfft.text import shorten
from nfft.training.base import BaseTrainer, Effort, HeadStart, Outcome
from nfft.training.budget import TRIAL_STEPS, WRITING_SECONDS, Pace, fitted, mean_pixels, rehearsal, usual_seconds
from nfft.training.checkpointing import latest_checkpoint, prune, save_checkpoint
from nfft.training.head_start import fit_classifier, put_classifier
from nfft.training.memory import COPIES, fewest_parts, learns_from_one
from nfft.training.plan import Plan
from nfft.training.step import optimizer_step, prepare_training, step_seed
from nfft.training.teacher import Lesson, learned_from, lesson_of
from nfft.training.tracking import Tracker

# Beside the checkpoint that each evaluation saves.
SAVE_SECONDS = 600
EVALUATION_BATCH = 128


class Diverged(UserError):
    """A loss that is not finite, with where it was seen and what to do."""

    def __init__(self, what: str, loss: float, recipe: Recipe) -> None:
        harder = (
            "clip gradients with --set clipping=0.01"
            if recipe.clipping is None
            else f"clip harder with --set clipping={recipe.clipping / 4:g} (now {recipe.clipping:g})"
        )
        super().__init__(f"{what} is {loss}: training diverged. Lower --lr (now {recipe.lr:g}) or {harder}.")


@dataclass(frozen=True)
class Launched:
    """A step that the device may still be at.

    Attributes:
        step: its number, from 1.
        totals: mean over processes of loss, top-1, share of units clipped, and votes to stop; (4,), on the device.
    """

    step: int
    lr: float
    totals: Tensor


@dataclass
class Tally:
    """What the steps of a run took so far, for its results.

    Attributes:
        steps: that were counted; all of them, but for a run that an older release began.
        seconds: from the start of each to its end.
        clipped: sum of the shares of units that were clipped.
    """

    steps: int = 0
    seconds: float = 0.0
    clipped: float = 0.0


class Trainer(BaseTrainer):
    """One run of `plan`, step by step.

    Args:
        probes_first: whether the classifier is fitted to the checkpoint's features before the first step.
    """

    probes_first = False
    head_start: HeadStart | None = None

    def __init__(self, plan: Plan, accelerator: Accelerator, folder: Path, *, probes_first: bool = False) -> None:
        super().__init__(plan, accelerator, folder)
        self.probes_first = probes_first
        recipe = plan.recipe
        self.check_side("train_resolution")
        if recipe.first_resolution is not None:
            self.check_side("first_resolution")
        recipe = replace(recipe, accumulation_steps=recipe.accumulation_steps or self._fewest_parts(recipe))
        self.plan = replace(plan, recipe=recipe)
        self._check_parts(recipe)
        self._check_averages(recipe)
        plan.method.prepare(self.network)
        self.training = prepare_training(self.network, recipe, accelerator, plan.method)
        self.lesson = self._learn()
        self.decoded = self._decode()
        # No gradients are kept, so more images fit than a process has in a training step.
        room = 4 * recipe.batch_size // (recipe.parts * accelerator.num_processes)
        self.predictor = self.new_predictor(min(EVALUATION_BATCH, room), keeps_views=True)
        if recipe.total_steps is None and recipe.minutes is not None:
            self.plan = replace(self.plan, recipe=self._fitted(recipe))
        self.tally = Tally()
        self.validation: dict[str, Predictions] = {}
        self.saved: Path | None = None
        self.saved_at = self.measured_at = self.began

    def fit(self, tracker: Tracker, stop_requested: Callable[[], bool]) -> bool:
        if self.probes_first and self.step == 0 and not self._fit_classifier(tracker, stop_requested):
            return False
        try:
            return self._fit(tracker, stop_requested)
        except Diverged as error:
            where = f"The last good checkpoint is {self.saved}." if self.saved else "No checkpoint had been saved yet."
            raise UserError(f"{error} {where}") from error
        except torch.OutOfMemoryError as error:
            raise LocalError(
                f"a batch of {self.plan.recipe.batch_size} does not fit in the device's memory. In another folder, "
                f"take it in more parts with --set accumulation_steps={2 * self.plan.recipe.parts}, or use "
                "--set gradient_checkpointing=true."
            ) from error

    def _fit_classifier(self, tracker: Tracker, stop_requested: Callable[[], bool]) -> bool:
        """Fit the classifier alone; False when a stop was asked for, and the features so far are kept."""
        began = time.monotonic()
        found = fit_classifier(self.plan, self.accelerator, self.folder, tracker, stop_requested)
        if found is None:
            return False
        self.head_start, weight, bias = found
        # What an interrupted run has left took its time, too.
        self.began -= max(0.0, self.head_start.seconds - (time.monotonic() - began))
        put_classifier(self.network, self.training.ema, weight, bias)
        return True

    def _fit(self, tracker: Tracker, stop_requested: Callable[[], bool]) -> bool:
        training, recipe, accelerator = self.training, self.plan.recipe, self.accelerator
        to_input = self.predictor.inference.normalized
        seed, total_steps = self.plan.config.seed, self.plan.total_steps
        warmup_steps = round(recipe.warmup_fraction * total_steps)
        evaluated = {round(total_steps * (n + 1) / recipe.evaluations) for n in range(recipe.evaluations)}
        # A GPU works on the next step while the totals of the last one are read; a CPU has nothing to wait for.
        runs_ahead = accelerator.device.type != "cpu"
        broken: list[BrokenImage] = []
        previous: Launched | None = None
        stopping = voted = False

        if self.lesson is not None and accelerator.is_main_process:
            self.lesson.keep(self.folder)
        batches = iter(self._train_loader(recipe, range(training.step, total_steps)))
        training.model.train()
        self.measured_at = time.perf_counter()
        while training.step < total_steps and not stopping:
            # ---- the next batch, in parts
            micro_batches = [next(batches) for _ in range(recipe.parts)]
            broken += [image for batch in micro_batches for image in batch.broken]
            # Dropout depends on (seed, step, process) alone, so a resumed run draws the same.
            torch.manual_seed(step_seed(seed, training.step, accelerator.process_index))

            # ---- one step of the optimizer: forward, backward, AGC, optimizer, average
            lr = learning_rate(training.step, peak=recipe.lr, total_steps=total_steps, warmup_steps=warmup_steps)
            for group in training.optimizer.param_groups:
                group["lr"] = lr * group["scale"]
            figures = optimizer_step(training, micro_batches, recipe, accelerator, to_input)
            stop = torch.full((), float(stop_requested()), device=accelerator.device)
            totals = accelerator.reduce(torch.stack([*figures, stop]), reduction="mean")
            training.step += 1
            launched = Launched(training.step, lr, totals)

            # ---- log it, and everything before it; any process that votes to stop stops all after the same step
            if previous is not None:
                voted = self._log(previous, tracker)
            stopping = voted
            is_evaluated = training.step in evaluated
            if stopping or is_evaluated or not runs_ahead or training.step == total_steps:
                stopping |= self._log(launched, tracker)
                previous = None
            else:
                previous = launched
            if stopping or is_evaluated or accelerator.num_processes == 1:
                self.note_broken(self.plan.data.learned, of_all(broken, accelerator.num_processes))
                broken = []

            # ---- evaluate and save, where it is time
            if is_evaluated:
                if training.averages is not None:
                    training.averages.note_evaluation(training.network, training.step, evaluated)
                self._validate(tracker)
            is_late = accelerator.is_main_process and time.monotonic() - self.saved_at > SAVE_SECONDS
            if is_late and previous is not None and self._is_sound(previous):
                # A checkpoint has no step that nobody was told of; the other processes read its votes a step later.
                voted, previous = self._log(previous, tracker), None
            if (stopping or is_evaluated or is_late) and previous is None:
                self.save()
                self.measured_at = time.perf_counter()
        if stopping:
            # They may be in the midst of a picture, and nobody waits for it.
            end_workers()
        return training.step == total_steps

    def _log(self, launched: Launched, tracker: Tracker) -> bool:
        """Tell of a step once its totals are there; returns whether a process has voted to stop."""
        loss, top1, clipped, stop = self._finite(launched)
        now = time.perf_counter()
        seconds, self.measured_at = now - self.measured_at, now
        # JSON has no NaN: a step that fp16 skipped clipped nothing, and may have no loss.
        clipped = clipped if math.isfinite(clipped) else 0.0
        self.tally.steps += 1
        self.tally.seconds += seconds
        self.tally.clipped += clipped
        tracker.log(
            StepMetrics(
                step=launched.step,
                loss=loss if math.isfinite(loss) else None,
                top1=top1 if math.isfinite(top1) else None,
                lr=launched.lr,
                clipped=clipped,
                images_per_second=self.plan.recipe.batch_size / seconds,
            )
        )
        return stop > 0

    def _finite(self, launched: Launched) -> list[float]:
        """The totals of a step.

        Raises:
            Diverged: when its loss or a gradient is not finite.
        """
        loss, _, clipped, _ = totals = launched.totals.tolist()
        recipe = self.plan.recipe
        # With fp16, gradients overflow now and then: its scaler has skipped the step and lowers the scale. When that
        # happens in SAM's ascent, there is no loss to speak of either.
        skipped = self.accelerator.scaler is not None and not math.isfinite(clipped)
        if not math.isfinite(loss) and not (skipped and recipe.sam_rho is not None):
            raise Diverged(f"the loss at step {launched.step}", loss, recipe)
        if not math.isfinite(clipped) and not skipped:
            raise Diverged(f"a gradient at step {launched.step}", clipped, recipe)
        return totals

    def _is_sound(self, launched: Launched) -> bool:
        """Whether a step may be saved; where not, every process says why when it tells of the step."""
        try:
            self._finite(launched)
        except Diverged:
            return False
        return True

    def _train_loader(self, recipe: Recipe, steps: range) -> DataLoader:
        """This process's micro-batches of these steps."""
        return train_loader(
            self.plan.data.learned,
            recipe,
            self.plan.config.seed,
            steps=steps,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            workers=self.workers,
            decoded=self.decoded,
        )

    def _validate(self, tracker: Tracker) -> None:
        weights_now = self.candidates if self.step == self.plan.total_steps else [self.leading]
        self.validation = self.predict(self.plan.data.validation, weights_now)
        # Checked before it is saved: weights can be finite and already beyond rescue.
        for predictions in self.validation.values():
            if not math.isfinite(predictions.loss):
                raise Diverged(f"the validation loss after step {self.step}", predictions.loss, self.plan.recipe)
        for weights, predictions in self.validation.items():
            tracker.log(
                ValidationMetrics(step=self.step, weights=weights, loss=predictions.loss, top1=predictions.top1)
            )

    @property
    def reached(self) -> str:
        return f"step {self.step}" if self.step else ""

    @property
    def step(self) -> int:
        return self.training.step

    @property
    def candidates(self) -> list[str]:
        """The weights a run ends with: "raw" and, where the recipe averages, "ema" and the names of further ones."""
        ema, averages = self.training.ema, self.training.averages
        return ["raw", *(["ema"] if ema is not None else []), *(averages.candidates() if averages is not None else [])]

    def _weights(self, name: str) -> Mapping[str, Tensor] | None:
        """One of the candidates; None for those that the network has now."""
        ema, averages = self.training.ema, self.training.averages
        if name == "ema" and ema is not None:
            return ema.average
        return averages.weights(name, self.training.network, ema) if averages is not None and name != "raw" else None

    @property
    def leading(self) -> str:
        """The weights that are scored along the way: those which hardly ever are the worse ones of the candidates.

        An average is that early on, where it is one of few steps at first.
        """
        return "ema" if self.training.ema is not None and self.plan.recipe.ema_warmup else "raw"

    def save(self) -> None:
        """Write a checkpoint, from the main process."""
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        facts = {
            "seconds": self.seconds,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "tally": vars(self.tally),
            "head_start": vars(self.head_start) if self.head_start is not None else None,
            "run": self.record.to_json() if self.record is not None else None,
        }
        # Its lines up to here are written but once.
        sync(self.folder / METRICS)
        self.saved = save_checkpoint(self.folder / CHECKPOINTS, self.step, self.training.state(), facts)
        self.saved_at = time.monotonic()
        if self.head_start is not None:
            # The checkpoint has what came of them.
            shutil.rmtree(self.folder / FEATURES, ignore_errors=True)

    def restore(self) -> list[str]:
        """Take up the newest whole checkpoint; returns lines about damaged ones.

        Raises:
            UserError: for one that is whole, but of something else than this run.
        """
        saved, torn = latest_checkpoint(self.folder / CHECKPOINTS)
        if saved is None:
            return [*torn, "no checkpoint was saved before it ended: it starts again"]
        self.saved = saved.folder
        if self.accelerator.is_main_process:
            prune(self.folder / CHECKPOINTS, saved.folder)
        try:
            self.training.load(saved.tensors, saved.facts["step"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(saved.facts["scaler"])
            self.tally = msgspec.convert(saved.facts.get("tally", {}), Tally)
            self.head_start = msgspec.convert(saved.facts.get("head_start"), HeadStart | None)
            self.began -= saved.facts["seconds"]
        except (KeyError, TypeError, ValueError, OverflowError, msgspec.ValidationError) as error:
            raise UserError(
                f"{saved.folder} is no checkpoint of this run ({shorten(str(error), 200)}). Delete it to go on from "
                "the one before."
            ) from error
        return torn

    def finish(self) -> Outcome:
        """Leave the network with the weights that do better on validation, and score them."""
        # The last step has scored them already, unless the run was resumed after it.
        validation = self.validation or self.predict(self.plan.data.validation, self.candidates)
        best = max(validation, key=lambda weights: (validation[weights].top1, -validation[weights].loss))
        if (kept := self._weights(best)) is not None:
            self.network.load_state_dict(kept)
        test = self.plan.data.test
        tested = self.predict(test, ["raw"])["raw"] if test is not None else None
        return Outcome(best, validation, tested, self._effort(), head_start=self.head_start)

    def _effort(self) -> Effort:
        steps, tally, start = self.plan.total_steps, self.tally, self.head_start
        return Effort(
            steps=steps,
            images=steps * self.plan.recipe.batch_size + (start.images if start is not None else 0),
            seconds=(tally.seconds / tally.steps * steps if tally.steps else self.seconds)
            + (start.seconds if start is not None else 0),
            clipped=tally.clipped / tally.steps if tally.steps else None,
        )

    def predict(self, split: Split, candidates: list[str]) -> dict[str, Predictions]:
        """Predictions over all of `split` with each of several sets of weights, gathered from every process."""
        self._share_buffers()
        networks = {weights: self.predictor.folded(self.network, self._weights(weights)) for weights in candidates}
        predictions = self.predictor.predict(networks, split)
        self.note_broken(split, next(iter(predictions.values())).broken)
        return predictions

    def _share_buffers(self) -> None:
        """Give every process the main one's running statistics, the ones that are saved.

        Each gathers its own from its part of the batches; networks without normalization have none.
        """
        if self.accelerator.num_processes == 1:
            return
        for name, buffer in self.training.network.named_buffers():
            torch.distributed.broadcast(buffer, src=0)
            if self.training.ema is not None and name in self.training.ema.average:
                torch.distributed.broadcast(self.training.ema.average[name], src=0)

    def _fewest_parts(self, recipe: Recipe) -> int:
        mine = fewest_parts(
            self.network,
            side=recipe.train_resolution,
            share=recipe.batch_size // self.accelerator.num_processes,
            least=self._least_images(recipe),
            even=recipe.mixup is not None or recipe.cutmix,
            bytes_each=4 if self.accelerator.mixed_precision == "no" else 2,
            device=self.accelerator.device,
            # AdamW keeps squares as well.
            copies=COPIES + (recipe.optimizer == "adamw"),
        )
        # Processes may have unequal memory, and must cut a batch alike.
        return int(self.accelerator.gather(torch.tensor([mine], device=self.accelerator.device)).max())

    def _fitted(self, recipe: Recipe) -> Recipe:
        """`recipe` with the steps that fit into its minutes."""
        processes = self.accelerator.num_processes
        validation, test, size = self.plan.data.validation, self.plan.data.test, self.predictor.batch_size
        scored = validation.keep(np.arange(min(2 * size, len(validation))))
        # Not the run's own, which keeps what it has seen.
        predictor = self.new_predictor(size)
        network = {"raw": predictor.folded(self.network)}
        image = usual_seconds([partial(predictor.predict, network, scored)] * 3, recipe, processes) / len(scored)
        with rehearsal(self.training, self.accelerator):
            step = usual_seconds(self._trial_steps(recipe), recipe, processes) * mean_pixels(recipe)
        at_the_end = len(self.candidates) * len(validation) + (len(test) if test is not None else 0)
        pace = Pace(step=step, score=image * len(validation), end=image * at_the_end + WRITING_SECONDS)
        # Solving for a classifier takes less than the features do, but where a few images have many classes.
        first = 1.5 * image * (len(self.plan.data.train) + len(validation)) if self.probes_first else 0
        return fitted(recipe, pace, self.plan.config.began.seconds + first)

    def _trial_steps(self, recipe: Recipe) -> Iterator[Callable[[], Any]]:
        """Steps at a rate of 0, of the largest images, each to the end of what it launches."""
        training, to_input = self.training, self.predictor.inference.normalized
        largest = replace(recipe, minutes=None, total_steps=TRIAL_STEPS, first_resolution=None)
        batches = iter(self._train_loader(largest, range(TRIAL_STEPS)))
        training.model.train()
        for group in training.optimizer.param_groups:
            group["lr"] = 0.0

        def step() -> None:
            micro_batches = [next(batches) for _ in range(recipe.parts)]
            loss, *_ = optimizer_step(training, micro_batches, recipe, self.accelerator, to_input)
            loss.item()

        return (step for _ in range(TRIAL_STEPS))

    def _least_images(self, recipe: Recipe) -> int:
        return 1 if learns_from_one(self.network, recipe.train_resolution) else 2

    def _check_parts(self, recipe: Recipe) -> None:
        """See that each part has the images that the network can learn from."""
        processes = self.accelerator.num_processes
        if recipe.batch_size // (recipe.parts * processes) > 1 or self._least_images(recipe) == 1:
            return
        fewer = f"a smaller --set accumulation_steps= (now {recipe.parts}) or " if recipe.parts > 1 else ""
        raise UserError(
            f"{self.plan.checkpoint.architecture} has batch normalization, which learns nothing from one image a part "
            f"at {recipe.train_resolution} px. Use {fewer}--batch-size {2 * recipe.parts * processes} or more."
        )

    def _learn(self) -> Lesson | None:
        """Have the teacher say what it knows, where there is one: the images and their targets are by that."""
        plan = self.plan
        if plan.teacher is None:
            return None
        lesson = lesson_of(
            plan.teacher, plan.task, plan.data, plan.recipe, self.accelerator, self.folder, plan.fingerprint,
            workers=self.workers,
        )  # fmt: skip
        data, self.training.objective = learned_from(lesson, plan.data, plan.recipe)
        self.plan = replace(plan, data=data)
        return lesson

    def _check_averages(self, recipe: Recipe) -> None:
        """See that the weights of several steps make a network: running statistics are those of their own weights."""
        if is_normalized(self.network) and (recipe.averages is not None or recipe.soup_of_last is not None):
            name = "averages" if recipe.averages is not None else "soup_of_last"
            raise UserError(
                f"{self.plan.checkpoint.architecture} has batch normalization, whose statistics are of no mean of "
                f"weights. Use --set {name}=none."
            )

    def _decode(self) -> Decoded | None:
        """The training images, decoded by a process of each machine for all; None where they are too large for that.

        A small split has been decoded already, when the images were looked at.
        """
        images, pixels = self.plan.data.learned, self.plan.pixels
        if not fits_cache(images, pixels):
            return None
        recipe = self.plan.recipe
        is_seen_again = recipe.minutes is not None or self.plan.total_steps * recipe.batch_size > len(images)
        if is_seen_again and self.accelerator.is_local_main_process:
            fill_cache(images, pixels)
        self.accelerator.wait_for_everyone()
        return Decoded(images)
