"""What networks make of images when nothing is trained: the one set-up for it, in one process or several."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from nfft.data.loader import Batch, EvaluationImages, View, evaluation_loader
from nfft.data.scan import BrokenImage
from nfft.data.splits import Split
from nfft.distributed.accelerator import autocast_dtype, of_all
from nfft.evaluation.metrics import Predictions, predict_batches
from nfft.evaluation.views import AveragedViews
from nfft.machine import memory_of
from nfft.models.build import normalize_images
from nfft.models.folding import fold
from nfft.models.transforms import pixels_of

# Normalized images (n, 3, side, side) -> rows (n, ...): a network, a part of one, or another runtime with its file.
Network = Callable[[Tensor], Tensor]
TENSORS = ("images", "labels", "partners", "ratios", "indices")
# The share of a process's memory that the views of all splits may take together.
KEPT_SHARE = 1 / 8


class Inference:
    """How a network is run for its answers alone: folded, on normalized images, under autocast.

    Args:
        device: of the networks.
        mean, std: of each color channel, as the checkpoint has them.
        autocast: what autocast computes in; None where there is none.
        dtype: of the networks' input.
    """

    def __init__(
        self,
        device: torch.device,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        autocast: torch.dtype | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device, self.autocast, self.dtype = device, autocast, dtype
        self.mean, self.std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (mean, std))

    def folded(self, network: nn.Module, tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
        """A copy of the network as it is now, in the form in which it answers fastest; fold again after training.

        Args:
            tensors: weights in place of the network's own, such as an average's, by their names in its state dict.
        """
        return fold(network, tensors, self.autocast).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def normalized(self, images: Tensor) -> Tensor:
        """uint8 images (n, 3, h, w) -> a network's input, on the device."""
        return normalize_images(images.to(self.device, non_blocking=True), self.mean, self.std).to(self.dtype)

    @torch.inference_mode()
    def answers(self, network: Network, images: Tensor) -> Tensor:
        """What a network makes of normalized images, without gradients."""
        with nullcontext() if self.autocast is None else torch.autocast(self.device.type, self.autocast):
            return network(images)


@dataclass(frozen=True)
class Outputs:
    """What a network has made of some images of a split, gathered from every process.

    Attributes:
        indices: (n,), in the split.
        rows: (n, ...), of each.
        broken: images among them that could not be read, and have no row.
        done: images from the first of the split on that are through, broken ones included.
    """

    indices: np.ndarray
    rows: np.ndarray
    broken: list[BrokenImage]
    done: int


class Predictor:
    """Scores splits by networks: each process its share, with the outcome of all in every one.

    Args:
        accelerator: whose device, precision and processes are used; None for this process alone, on its CPU.
        view: an RGB image of Pillow -> uint8 pixels (side, side, 3).
        mean, std: of each color channel, as the checkpoint has them.
        workers: loader processes.
        batch_size: images that each process takes at once, at most.
        keeps_views: for splits that are scored again: their views stay in memory where they fit, so that nothing is
            decoded twice; where they do not, the loader's workers stay.
        averages: the views of each picture that `predict` averages over, for which `view` has to leave room; one when
            absent.

    Attributes:
        inference: how the networks are run.
    """

    def __init__(
        self,
        accelerator: Accelerator | None,
        view: View,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        workers: int,
        batch_size: int,
        keeps_views: bool = False,
        averages: AveragedViews | None = None,
    ) -> None:
        self.averages = averages
        self.view, self.workers, self.batch_size, self.keeps_views = view, workers, batch_size, keeps_views
        if accelerator is None:
            self.rank, self.processes = 0, 1
            self.inference = Inference(torch.device("cpu"), mean, std)
        else:
            self.rank, self.processes = accelerator.process_index, accelerator.num_processes
            self.inference = Inference(accelerator.device, mean, std, autocast=autocast_dtype(accelerator))
        self.room = int(KEPT_SHARE * memory_of(torch.device("cpu"))) if keeps_views else 0
        # By the identity of the split, which each holds.
        self.views: dict[int, Views] = {}

    @classmethod
    def as_stored(
        cls,
        accelerator: Accelerator,
        preprocessing: dict[str, Any],
        *,
        workers: int,
        batch_size: int,
        averages: AveragedViews | None = None,
    ) -> "Predictor":
        """One that shows pictures as a checkpoint's own preprocessing says."""
        shown = preprocessing if averages is None else averages.preprocessing(preprocessing)
        mean, std = preprocessing["mean"], preprocessing["std"]
        return cls(
            accelerator, pixels_of(shown), mean, std, workers=workers, batch_size=batch_size, averages=averages
        )  # fmt: skip

    def folded(self, network: nn.Module, tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
        """The network as it is now, or with other weights, in the form in which it answers fastest."""
        return self.inference.folded(network, tensors)

    def predict(self, networks: Mapping[str, Network], split: Split, title: str = "") -> dict[str, Predictions]:
        """What each of several networks says of all of `split`, whose images are read once.

        Args:
            networks: by name; normalized images (n, 3, side, side) -> logits (n, classes), without communication
                between processes. `folded` makes them.
            title: of a bar that terminals show of a long evaluation; no bar without.

        Raises:
            UserError: when none of the images can be read.
        """
        size = self._cut(len(split))
        if id(split) not in self.views:
            images = EvaluationImages(split, self.view)
            self.views[id(split)] = Views(split, self._loader(images, size, persistent=self.keeps_views))
        views = self.views[id(split)]
        others = sum(each.nbytes for each in self.views.values() if each is not views)
        batches = views.read(self.room - others)
        total = math.ceil(math.ceil(len(split) / self.processes) / size)
        hidden = not title or self.rank > 0
        shown = tqdm(batches, title, total, disable=hidden or None, leave=False, delay=2)
        inputs = (replace(batch, images=self.inputs(batch, size)) for batch in shown)
        if self.averages is not None:
            networks = {name: self.averages.average(network) for name, network in networks.items()}
        answers = {name: partial(self.inference.answers, network) for name, network in networks.items()}
        return predict_batches(answers, inputs, partial(of_all, processes=self.processes))

    def outputs(self, network: Network, images: EvaluationImages, first: int = 0) -> Iterator[Outputs]:
        """What `network` makes of the images from `first` on, as far as every process has come with a batch.

        All processes take each step together, and each gets the rows of all.
        """
        size = self._cut(len(images) - first)
        batches = iter(self._loader(images, size, first=first))
        step = size * self.processes
        for done in range(first + step, len(images) + step, step):
            # The last batches may leave a process nothing to do; it gathers all the same.
            batch = next(batches, None)
            mine = [] if batch is None else [(batch.indices.numpy(), self._rows(network, batch, size), batch.broken)]
            parts = of_all(mine, self.processes)
            rows = [rows for _, rows, _ in parts if rows is not None]
            yield Outputs(
                indices=np.concatenate([indices for indices, _, _ in parts]),
                rows=np.concatenate(rows) if rows else np.empty(0),
                broken=[each for _, _, broken in parts for each in broken],
                done=min(len(images), done),
            )

    def batches(self, split: Split) -> DataLoader:
        """This process's share of a split as uint8 batches."""
        return self._loader(EvaluationImages(split, self.view), self._cut(len(split)))

    def inputs(self, batch: Batch, size: int = 0) -> Tensor:
        """A batch as networks take it, with rows added up to `size` of them.

        On a GPU, algorithms are searched and graphs compiled for each shape. A CPU does neither, computes what is added
        in vain, and rounds some products otherwise in a batch of another size.
        """
        images = self.inference.normalized(batch.images)
        missing = 0 if self.inference.device.type == "cpu" else max(0, size - len(images))
        return F.pad(images, (0, 0) * 3 + (0, missing)) if missing else images

    def _rows(self, network: Network, batch: Batch, size: int) -> np.ndarray | None:
        if not len(batch.labels):
            return None
        return self.inference.answers(network, self.inputs(batch, size))[: len(batch.labels)].cpu().numpy()

    def _cut(self, count: int) -> int:
        """How many of a split's images a process takes at once.

        Where shapes cost (see `inputs`), all batches are nearly equal, so that few rows are added to the last one.
        """
        if self.inference.device.type == "cpu":
            return self.batch_size
        share = max(1, math.ceil(count / self.processes))
        return math.ceil(share / math.ceil(share / self.batch_size))

    def _loader(self, images: EvaluationImages, size: int, *, first: int = 0, persistent: bool = False) -> DataLoader:
        return evaluation_loader(
            images,
            batch_size=size,
            rank=self.rank,
            processes=self.processes,
            workers=self.workers,
            first=first,
            persistent=persistent,
        )


class Views:
    """This process's share of a split, batch by batch: loaded once, if there is room for it in memory."""

    def __init__(self, split: Split, loader: DataLoader) -> None:
        self.split = split
        self.loader: DataLoader | None = loader
        self.kept: list[Batch] = []
        self.fits = True

    @property
    def nbytes(self) -> int:
        return sum(batch.images.nbytes for batch in self.kept)

    def read(self, room: int) -> Iterator[Batch]:
        """The batches, which are kept where they take at most `room` bytes."""
        if self.loader is None:
            yield from self.kept
            return
        batches: list[Batch] = []
        for batch in self.loader:
            room -= batch.images.nbytes
            if room < 0:
                self.fits = False
                batches.clear()
            if self.fits:
                batches.append(owned(batch))
            yield batch
        if self.fits:
            # Its workers end with the loader.
            self.kept, self.loader = batches, None


def owned(batch: Batch) -> Batch:
    """The batch in memory of this process's own: of what a loader process shares, each tensor is an open file."""
    tensors = {name: getattr(batch, name) for name in TENSORS}
    return replace(batch, **{name: tensor.clone() for name, tensor in tensors.items() if tensor.is_shared()})
