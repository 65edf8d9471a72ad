"""Splits to batches. What a sample looks like depends on (seed, epoch, index) alone.

So the same run comes out of any number of loader workers, of processes that share the global batch, and of a run that
was killed and resumed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from nfft.config.recipe import Recipe
from nfft.data.augment import cut_mix, mix_up, train_view
from nfft.data.decode import UnreadableImage, decode
from nfft.data.decode_cache import Decoded
from nfft.data.randaugment import distort
from nfft.data.scan import BrokenImage
from nfft.data.splits import Split
from nfft.data.workers import Loader, can_start, is_short, worker_begins
from nfft.errors import LocalError

# From an image, decoded or as it is stored, to uint8 pixels (side, side, 3).
View = Callable[..., np.ndarray]
# The last word of a seed says what it is for, so that no two uses share a stream.
ORDER, SAMPLE = 1, 2


def stream(*words: int) -> np.random.Generator:
    """Random numbers that depend on `words` alone, each below 2 ** 32."""
    # The same as of a tuple, which takes NumPy half as long again.
    return np.random.default_rng(np.array(words, np.uint32))


@dataclass(frozen=True)
class Key:
    """One sample of the run: which image, in which epoch, at which place of the global batch, and how many px of it."""

    epoch: int
    index: int
    place: int
    side: int


@dataclass
class Batch:
    """A micro-batch of n images.

    Attributes:
        images: (n, 3, side, side), uint8, channels last in memory.
        labels: (n,), int64.
        partners: (n,), the class mixed in; equal to `labels` where nothing is.
        ratios: (n,), float32, the share of the image's own class.
        indices: (n,), index in the split, of the image that is seen.
        broken: images that could not be read: replaced in training, left out in scoring.
        partner_indices: (n,), of the image mixed in; equal to `indices` where none is. In training alone.
    """

    images: Tensor
    labels: Tensor
    partners: Tensor
    ratios: Tensor
    indices: Tensor
    broken: list[BrokenImage]
    partner_indices: Tensor | None = None

    def pin_memory(self) -> "Batch":
        for name in ("images", "labels", "partners", "ratios"):
            setattr(self, name, getattr(self, name).pin_memory())
        return self


@dataclass
class Packed:
    """A batch on its way through a pipe, where the memory that processes share is short: as arrays, it is copied."""

    arrays: dict[str, np.ndarray]
    broken: list[BrokenImage]

    def unpacked(self) -> Batch:
        tensors = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
        return Batch(**{**tensors, "images": tensors["images"].permute(0, 3, 1, 2)}, broken=self.broken)

    def pin_memory(self) -> Batch:
        return self.unpacked().pin_memory()


@dataclass(frozen=True)
class Sent:
    """A batch as it leaves the process that makes it of samples."""

    collate: Callable[[Sequence[Any]], Batch]

    def __call__(self, samples: Sequence[Any]) -> Batch | Packed:
        batch = self.collate(samples)
        if get_worker_info() is None or batch.images.is_shared():
            return batch
        tensors = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
        tensors["images"] = batch.images.permute(0, 2, 3, 1)
        return Packed({name: tensor.numpy() for name, tensor in tensors.items()}, batch.broken)


class MicroBatches(Sampler[list[Key]]):
    """Keys of one process's micro-batches, for the optimizer steps `steps` of the run.

    Epochs are permutations laid end to end and cut into global batches, so every image is seen equally
    often. A global batch is cut into accumulation_steps x processes contiguous micro-batches.
    """

    def __init__(
        self, images: int, recipe: Recipe, seed: int, *, steps: range, rank: int = 0, processes: int = 1
    ) -> None:
        self.images, self.recipe, self.seed, self.steps = images, recipe, seed, steps
        self.rank, self.processes = rank, processes

    def __len__(self) -> int:
        return len(self.steps) * self.recipe.parts

    def __iter__(self) -> Iterator[list[Key]]:
        batch, parts = self.recipe.batch_size, self.recipe.parts
        size = batch // (parts * self.processes)
        epoch, order = -1, np.empty(0, np.int64)
        total_steps = self.recipe.steps(self.images)
        for step in self.steps:
            side = self.recipe.train_side(step, total_steps)
            for part in range(parts):
                first = (part * self.processes + self.rank) * size
                keys = []
                for place in range(first, first + size):
                    position = step * batch + place
                    if position // self.images != epoch:
                        epoch = position // self.images
                        order = stream(self.seed, epoch, 0, ORDER).permutation(self.images)
                    keys.append(Key(epoch, int(order[position % self.images]), place, side))
                yield keys


class Sample(NamedTuple):
    """An augmented training view.

    Attributes:
        view: (side, side, 3), uint8.
        label: its class.
        seen: index of the image in the split.
        key: which sample of the run it is.
        rng: what is still to be drawn for it comes from here.
        broken: set where the image could not be read and another one stands in.
    """

    view: np.ndarray
    label: int
    seen: int
    key: Key
    rng: np.random.Generator
    broken: BrokenImage | None


class TrainImages(Dataset[Sample]):
    """Augmented training views by `Key`; of pixels where the images have been decoded before."""

    def __init__(self, split: Split, recipe: Recipe, seed: int, decoded: Decoded | None = None) -> None:
        self.split, self.recipe, self.seed = split, recipe, seed
        self.images: Split | Decoded = split if decoded is None else decoded

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: Key) -> Sample:
        # An image that broke after the scan is replaced by the next one: a run of hours must not die of it.
        broken = None
        for offset in range(len(self.split)):
            index = (key.index + offset) % len(self.split)
            rng = stream(self.seed, key.epoch, key.index, SAMPLE)
            try:
                view = train_view(self.images[index], self.recipe, rng, self.split.rendering, key.side)
            except UnreadableImage as error:
                broken = broken or BrokenImage(key.index, str(error))
                continue
            return Sample(view, int(self.split.labels[index]), index, key, rng, broken)
        raise LocalError("no image of the training split can be read any more: is their disk still there?")


@dataclass(frozen=True)
class Collate:
    """Samples to a batch: neighbors are mixed, RandAugment is applied to the outcome, and that is stacked.

    Places 2k and 2k + 1 of the global batch are partners. With both MixUp and CutMix, even pairs get the one and odd
    pairs the other: each half of the batch. Ratios are drawn per image.

    Source: arXiv 2102.06171, section 4.4 and the authors' `dataset.py`.
    Differs: timm draws one ratio for the whole batch, and distorts before it mixes, as TrivialAugment, color jitter and
        random erasing do here (`alter`): the paper has none of these. The authors read a second image for each one of
        the batch; here partners are both of the batch, each mixed into the other.
    """

    recipe: Recipe

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        views, labels = [sample.view for sample in samples], np.array([sample.label for sample in samples])
        indices = np.array([sample.seen for sample in samples])
        partners, partner_indices, ratios = labels, indices, np.ones(len(samples), np.float32)
        if self.recipe.mixup is not None or self.recipe.cutmix:
            partner = np.arange(len(samples)) ^ 1
            mixed = [self._mix(sample, samples[other].view) for sample, other in zip(samples, partner, strict=True)]
            views, partners, partner_indices = [view for view, _ in mixed], labels[partner], indices[partner]
            ratios = np.array([ratio for _, ratio in mixed], np.float32)
        if self.recipe.randaugment is not None:
            for view, sample in zip(views, samples, strict=True):
                view[:] = distort(view, self.recipe.randaugment, self.recipe.randaugment_layers, sample.rng)
        return Batch(
            images=_stack(views),
            labels=torch.from_numpy(labels),
            partners=torch.from_numpy(partners),
            ratios=torch.from_numpy(ratios),
            indices=torch.from_numpy(indices),
            broken=[sample.broken for sample in samples if sample.broken is not None],
            partner_indices=torch.from_numpy(partner_indices),
        )

    def _mix(self, sample: Sample, partner: np.ndarray) -> tuple[np.ndarray, float]:
        both = self.recipe.mixup is not None and self.recipe.cutmix
        if self.recipe.mixup is None or (both and sample.key.place // 2 % 2):
            return cut_mix(sample.view, partner, sample.rng)
        return mix_up(sample.view, partner, self.recipe.mixup, sample.rng)


def _stack(views: Sequence[np.ndarray]) -> Tensor:
    """(n, 3, side, side), channels last in memory; in a loader process, in memory that the main one sees too.

    But for where that has no room.
    """
    worker = get_worker_info()
    if worker is not None and is_short(sum(view.nbytes for view in views), worker.num_workers):
        pixels = torch.from_numpy(np.stack(views))
    else:
        pixels = default_collate([torch.from_numpy(view) for view in views])
    return pixels.permute(0, 3, 1, 2)


class EvaluationImages(Dataset[tuple[np.ndarray | None, int, int, str]]):
    """Evaluation views by index; None with the reason where the image cannot be read."""

    def __init__(self, split: Split, view: View) -> None:
        self.split, self.view = split, view

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[np.ndarray | None, int, int, str]:
        label = int(self.split.labels[index])
        try:
            return self.view_of(index), label, index, ""
        except UnreadableImage as error:
            return None, label, index, str(error)

    def view_of(self, index: int) -> np.ndarray:
        return self.view(decode(self.split[index], self.split.rendering))


class AugmentedImages(EvaluationImages):
    """The training views of one epoch, unmixed, to be looked at in order."""

    def __init__(self, split: Split, recipe: Recipe, seed: int, epoch: int) -> None:
        super().__init__(split, partial(train_view, recipe=recipe))
        self.seed, self.epoch = seed, epoch

    def view_of(self, index: int) -> np.ndarray:
        rng = stream(self.seed, self.epoch, index, SAMPLE)
        return self.view(self.split[index], rng=rng, rendering=self.split.rendering)


def collate_evaluation(samples: Sequence[tuple[np.ndarray | None, int, int, str]]) -> Batch:
    """Stacks the readable samples; the batch can be empty."""
    readable = [(view, label, index) for view, label, index, _ in samples if view is not None]
    labels = torch.tensor([label for _, label, _ in readable], dtype=torch.int64)
    views = [view for view, *_ in readable]
    return Batch(
        images=_stack(views) if views else torch.empty(0, 3, 1, 1),
        labels=labels,
        partners=labels,
        ratios=torch.ones(len(readable)),
        indices=torch.tensor([index for *_, index in readable], dtype=torch.int64),
        broken=[BrokenImage(index, why) for view, _, index, why in samples if view is None],
    )


def _startable(workers: int) -> int:
    return workers if workers and can_start() else 0


def train_loader(
    split: Split,
    recipe: Recipe,
    seed: int,
    *,
    steps: range,
    rank: int,
    processes: int,
    workers: int,
    decoded: Decoded | None = None,
) -> DataLoader:
    """One process's micro-batches for `steps`; of `decoded` where the split has been decoded before."""
    return Loader(
        TrainImages(split, recipe, seed, decoded),
        batch_sampler=MicroBatches(len(split), recipe, seed, steps=steps, rank=rank, processes=processes),
        collate_fn=Sent(Collate(recipe)),
        num_workers=_startable(workers),
        worker_init_fn=worker_begins,
        pin_memory=torch.cuda.is_available(),
        # Its own generator: making an iterator draws from torch's global one otherwise.
        generator=torch.Generator(),
    )


def evaluation_loader(
    images: EvaluationImages,
    *,
    batch_size: int,
    rank: int,
    processes: int,
    workers: int,
    first: int = 0,
    persistent: bool = False,
) -> DataLoader:
    """Every `processes`-th image from `first` + `rank` on, each once: shards of unequal length, nothing padded.

    Args:
        persistent: whether the workers live as long as the loader, for images that are read several times.
    """
    mine = list(range(first + rank, len(images), processes))
    batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
    return Loader(
        images,
        batch_sampler=batches,
        collate_fn=Sent(collate_evaluation),
        num_workers=_startable(workers),
        persistent_workers=persistent and _startable(workers) > 0,
        worker_init_fn=worker_begins,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
    )
