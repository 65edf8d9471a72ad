"""An exported ONNX file in 8-bit integers, and what that costs in accuracy."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nfft.auto import AutoNFNet
from nfft.config.task import Task
from nfft.data.splits import Split, load_data
from nfft.errors import UserError
from nfft.evaluation.evaluate import chosen_split, renumbered
from nfft.evaluation.predictor import Predictor
from nfft.export.formats import INPUT, Answer, beside
from nfft.models.transforms import pixels_of, stored_preprocessing

# Images that show how far activations reach, and images that the loss is measured on, at most; both drawn by SEED.
CALIBRATED, SCORED, SEED = 256, 2000, 0
BATCH = 16


@dataclass(frozen=True)
class Cost:
    """What two files say of the same images.

    Attributes:
        before, after: top-1.
        agreement: share of images that both put into the same class.
        split, count: which images, and how many.
    """

    before: float
    after: float
    agreement: float
    split: str
    count: int

    def __str__(self) -> str:
        return (
            f"{self.before:.2%} in float, {self.after:.2%} in int8, the same class in {self.agreement:.1%} of "
            f"{self.count:,} {self.split} images"
        )


class Pictures:
    """A task's images as a checkpoint is shown them: those to calibrate on, and those to score.

    Args:
        side: px that they are shown at.

    Attributes:
        predictor: shows them.
        train, scored: which ones.
        notes: lines about what is taken for granted.

    Raises:
        UserError: when the data cannot be had, or the checkpoint does not tell its classes apart.
    """

    def __init__(self, task: Task, classifier: AutoNFNet, side: int) -> None:
        data = load_data(task)
        classes, split, account = chosen_split(data)
        split, notes = renumbered(split, classes, classifier, task)
        self.notes = [*account.lines, *notes]
        rendering = classifier.checkpoint.rendering.changed_by(task)
        shown = [replace(each, rendering=rendering) for each in (data.train, split)]
        self.train, self.scored = some(shown[0], CALIBRATED), some(shown[1], SCORED)
        preprocessing = stored_preprocessing(classifier.checkpoint, side)
        mean, std = preprocessing["mean"], preprocessing["std"]
        self.predictor = Predictor(None, pixels_of(preprocessing), mean, std, workers=0, batch_size=BATCH)


def some(split: Split, most: int) -> Split:
    """The split, or `most` images of it."""
    return split.keep(np.sort(np.random.default_rng(SEED).permutation(len(split))[:most]))


def quantize(source: Path, target: Path, pictures: Pictures) -> int:
    """Write `target`: the network in `source` with weights and activations in 8 bits, for onnxruntime.

    Weights have a scale each output channel, and 7 of the 8 bits: on processors without instructions for it, the
    products of neighbours would overflow, and answers would differ from one machine to the next. Activations have the
    range that they reach on the images to calibrate on.

    Returns:
        How many images those were.

    Raises:
        UserError: when none of them can be read.

    Source: arXiv 1712.05877, and onnxruntime's guide to `reduce_range`.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    reader = Reader(pictures)
    with quiet():
        quantize_static(
            source,
            target,
            reader,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=beside(source).is_file(),
        )
    return reader.count


class Reader:
    """The images to calibrate on, as onnxruntime asks for them; counts those that could be read."""

    def __init__(self, pictures: Pictures) -> None:
        self.predictor, self.count = pictures.predictor, 0
        self.batches = iter(pictures.predictor.batches(pictures.train))

    def get_next(self) -> dict[str, np.ndarray] | None:
        for batch in self.batches:
            if len(batch.labels):
                self.count += len(batch.labels)
                return {INPUT: self.predictor.inputs(batch).contiguous().numpy()}
        if not self.count:
            raise UserError("none of the train images to calibrate on can be read.")
        return None


@contextmanager
def quiet() -> Iterator[None]:
    """Without onnxruntime's advice to infer shapes first: torch's exporter has written them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def cost(before: Answer, after: Answer, pictures: Pictures) -> Cost:
    """What `after` loses against `before`."""
    predictions = pictures.predictor.predict({"before": before, "after": after}, pictures.scored, "scoring")
    first, second = predictions["before"], predictions["after"]
    agreement = float((first.top[:, 0] == second.top[:, 0]).mean())
    return Cost(first.top1, second.top1, agreement, pictures.scored.name, len(first.labels))
