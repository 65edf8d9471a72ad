"""A run from its first step to its scores: the loop with evaluation, checkpoints and resumption around it."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from nfft.config.recipe import Recipe
from nfft.data.decode import evaluation_view
from nfft.data.decode_cache import Decoded, fill_cache, fits_cache
from nfft.data.loader import train_loader
from nfft.data.scan import Broken
from nfft.data.splits import Split
from nfft.errors import LocalError, UserError
from nfft.evaluation.metrics import Predictions
from nfft.evaluation.predictor import Predictor
from nfft.training.base import Job, Outcome
from nfft.training.checkpointing import latest_checkpoint, save_checkpoint
from nfft.training.memory import fewest_parts
from nfft.training.plan import Plan
from nfft.training.step import Diverged, Step, prepare_training, train
from nfft.training.tracking import Report

CHECKPOINTS = "checkpoints"
# Beside the checkpoint that each evaluation saves.
SAVE_SECONDS = 600
EVALUATION_BATCH = 128


class Fit(Job):
    """One run of `plan`, step by step."""

    def __init__(self, plan: Plan, accelerator: Accelerator, folder: Path) -> None:
        super().__init__(plan, accelerator, folder)
        recipe = self.plan.recipe
        self.check_side("train_resolution")
        recipe = replace(recipe, accumulation_steps=recipe.accumulation_steps or self._parts(self.network, recipe))
        self.plan = replace(plan, recipe=recipe)
        self.adapter = plan.method.adapter(self.network)
        plan.method.prepare(self.network)
        self.training = prepare_training(self.network, recipe, accelerator, plan.method)
        self.decoded = self._decode()
        self.predictor = Predictor(
            accelerator,
            partial(evaluation_view, resolution=recipe.test_resolution, margin=recipe.test_margin),
            plan.checkpoint.preprocessing["mean"],
            plan.checkpoint.preprocessing["std"],
            workers=self.workers,
            # No gradients are kept, so more images fit than a process has in a training step.
            batch_size=min(EVALUATION_BATCH, 4 * recipe.batch_size // (recipe.parts * accelerator.num_processes)),
            keeps_views=True,
        )

        self.validation: dict[str, Predictions] = {}
        self.saved: Path | None = None
        self.saved_at = self.began

    def _parts(self, network: torch.nn.Module, recipe: Recipe) -> int:
        mine = fewest_parts(
            network,
            side=recipe.train_resolution,
            share=recipe.batch_size // self.accelerator.num_processes,
            even=recipe.mixup is not None or recipe.cutmix,
            bytes_each=4 if self.accelerator.mixed_precision == "no" else 2,
            device=self.accelerator.device,
        )
        # Processes may have unequal memory, and must cut a batch alike.
        return int(self.accelerator.gather(torch.tensor([mine], device=self.accelerator.device)).max())

    def _decode(self) -> Decoded | None:
        """The training images, decoded by a process of each machine for all; None where they are too large for that.

        A small split has been decoded already, when the images were looked at.
        """
        images, pixels = self.plan.data.train, self.plan.pixels
        if not fits_cache(images, pixels):
            return None
        is_seen_again = self.plan.total_steps * self.plan.recipe.batch_size > len(images)
        if is_seen_again and self.accelerator.is_local_main_process:
            fill_cache(images, pixels)
        self.accelerator.wait_for_everyone()
        return Decoded(images)

    def restore(self) -> list[str]:
        """Take up the newest whole checkpoint; returns lines about damaged ones."""
        saved, torn = latest_checkpoint(self.folder / CHECKPOINTS)
        if saved is None:
            return [*torn, "no checkpoint was saved before it ended: it starts again"]
        self.saved = saved.folder
        self.training.load(saved.tensors, saved.facts["step"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(saved.facts["scaler"])
        self.began -= saved.facts["seconds"]
        return torn

    def run(self, report: Report, stop_requested: Callable[[], bool]) -> bool:
        """Train to the end; returns False when a stop was asked for and the step saved.

        Raises:
            UserError: when training diverges; it names the step and the last good checkpoint.
        """
        total, evaluations = self.plan.total_steps, self.plan.recipe.evaluations
        due = {round(total * (n + 1) / evaluations) for n in range(evaluations)}
        broken: list[Broken] = []
        try:
            for done in self._steps(stop_requested):
                broken += done.broken
                # Of several processes, all have to be at the same step.
                if done.step in due or done.stop or self.accelerator.num_processes == 1:
                    self.note_broken(self.plan.data.train, self._of_all(broken))
                    broken = []
                report.step(
                    done.step,
                    loss=done.loss,
                    top1=done.top1,
                    lr=done.lr,
                    clipped=done.clipped,
                    images_per_second=done.images_per_second,
                )
                if done.step in due:
                    self._validate(done.step, report)
                if done.step in due or done.stop or time.monotonic() - self.saved_at > SAVE_SECONDS:
                    self.save()
                if done.stop and done.step < total:
                    return False
        except Diverged as error:
            where = f"The last good checkpoint is {self.saved}." if self.saved else "No checkpoint had been saved yet."
            raise UserError(f"{error} {where}") from error
        except torch.OutOfMemoryError as error:
            raise LocalError(
                f"a batch of {self.plan.recipe.batch_size} does not fit in the device's memory. In another folder, "
                f"take it in more parts with --set accumulation_steps={2 * self.plan.recipe.parts}, or use "
                "--set gradient_checkpointing=true."
            ) from error
        return True

    def _steps(self, stop_requested: Callable[[], bool]) -> Iterator[Step]:
        """What is left of the run, step by step."""
        plan, accelerator = self.plan, self.accelerator
        loader = train_loader(
            plan.data.train,
            plan.recipe,
            plan.config.seed,
            steps=range(self.training.step, plan.total_steps),
            rank=accelerator.process_index,
            processes=accelerator.num_processes,
            workers=self.workers,
            decoded=self.decoded,
        )
        return train(
            self.training,
            iter(loader),
            plan.recipe,
            accelerator,
            total_steps=plan.total_steps,
            seed=plan.config.seed,
            to_input=self.to_input,
            stop_requested=stop_requested,
        )

    def _validate(self, step: int, report: Report) -> None:
        self.validation = self.predict(self.plan.data.validation, self.candidates)
        # Checked before it is saved: weights can be finite and already beyond rescue.
        for each in self.validation.values():
            if not math.isfinite(each.loss):
                raise Diverged(f"the validation loss after step {step}", each.loss, self.plan.recipe)
        report.validation(step, {name: (each.loss, each.top1) for name, each in self.validation.items()})

    @property
    def reached(self) -> str:
        return f"step {self.step}" if self.step else ""

    @property
    def step(self) -> int:
        return self.training.step

    @property
    def candidates(self) -> list[str]:
        """The weights a run ends with: "raw" and, where the recipe averages, "ema"."""
        return ["raw"] if self.training.ema is None else ["raw", "ema"]

    def save(self) -> None:
        """Write a checkpoint, from the main process."""
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        facts = {"seconds": self.seconds, "scaler": scaler.state_dict() if scaler is not None else None}
        self.saved = save_checkpoint(self.folder / CHECKPOINTS, self.step, self.training.state(), facts)
        self.saved_at = time.monotonic()

    def predict(self, split: Split, candidates: list[str]) -> dict[str, Predictions]:
        """Predictions over all of `split` with "raw" and "ema" weights, gathered from every process."""
        self._share_buffers()
        ema = self.training.ema
        tensors = {"raw": None, "ema": ema.average if ema is not None else None}
        networks = {weights: self.predictor.folded(self.network, tensors[weights]) for weights in candidates}
        found = self.predictor.predict(networks, split)
        self.note_broken(split, next(iter(found.values())).broken)
        return found

    def _of_all(self, items: list) -> list:
        """The items of every process."""
        return gather_object(items) if self.accelerator.num_processes > 1 else items

    def _share_buffers(self) -> None:
        """Give every process the main one's running statistics, the ones that are saved.

        Each gathers its own from its part of the batches; networks without normalisation have none.
        """
        if self.accelerator.num_processes == 1:
            return
        for name, buffer in self.training.network.named_buffers():
            torch.distributed.broadcast(buffer, src=0)
            if self.training.ema is not None and name in self.training.ema.average:
                torch.distributed.broadcast(self.training.ema.average[name], src=0)

    def finish(self, lines: list[dict]) -> Outcome:
        """Leave the network with the weights that do better on validation, and score them."""
        # The last step has scored them already, unless the run was resumed after it.
        found = self.validation or self.predict(self.plan.data.validation, self.candidates)
        best = max(found, key=lambda weights: (found[weights].top1, -found[weights].loss))
        if best == "ema":
            assert self.training.ema is not None
            self.network.load_state_dict(self.training.ema.average)
        test = self.plan.data.test
        batch, steps = self.plan.recipe.batch_size, self.plan.total_steps
        # Of a run that is resumed, lines may be lost.
        known = [line for line in lines if line["kind"] == "train"]
        seconds = fmean(batch / line["images_per_second"] for line in known) * steps if known else self.seconds
        clipped = fmean(line["clipped"] for line in known) if known else None
        tested = self.predict(test, ["raw"])["raw"] if test is not None else None
        training = {"steps": steps, "images": steps * batch, "seconds": seconds, "clipped": clipped}
        return Outcome(best, found, tested, training)
