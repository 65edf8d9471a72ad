"""Metrics over a split: every image counted once, however many processes share them."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nfft.data.loader import Batch
from nfft.data.scan import BrokenImage
from nfft.errors import UserError
from nfft.runs.records import Candidate, ClassScores, Scores

# Indices, labels, best classes, confidences, losses.
Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
CALIBRATION_BINS = 15
TOP = 5


@dataclass(frozen=True)
class Predictions:
    """What a network said of each image of a split, in order of index.

    Attributes:
        labels: (n,), the true classes.
        top: (n, k), the k most probable classes, best first; k is at most 5.
        confidence: (n,), the probability of the first.
        losses: (n,), the negative log-likelihood of the true class.
        broken: images left out because they could not be read.
        seconds: time it took, that of other networks that saw the same images left out.
    """

    labels: np.ndarray
    top: np.ndarray
    confidence: np.ndarray
    losses: np.ndarray
    broken: list[BrokenImage]
    seconds: float

    @property
    def top1(self) -> float:
        return float((self.top[:, 0] == self.labels).mean())

    @property
    def loss(self) -> float:
        return float(self.losses.mean())


@torch.no_grad()
def predict_batches(
    networks: Mapping[str, Callable[[Tensor], Tensor]], batches: Iterable[Batch], gather: Callable[[list], list]
) -> dict[str, Predictions]:
    """What each of several networks says of this process's `batches`, read once, with every process's outcome.

    Args:
        networks: by name, a batch's images -> logits (n, classes), without communication between processes; rows
            beyond the batch's labels are dropped.
        gather: concatenates the lists of all processes; the identity for one.
    """
    began, spent = time.perf_counter(), dict.fromkeys(networks, 0.0)
    rows: dict[str, list[Rows]] = {name: [] for name in networks}
    broken: list[BrokenImage] = []
    for batch in batches:
        broken += batch.broken
        if len(batch.labels):
            for name, logits_of in networks.items():
                before = time.perf_counter()
                logits = logits_of(batch.images)[: len(batch.labels)]
                rows[name].append(_outcome(batch.indices.numpy(), batch.labels, logits))
                spent[name] += time.perf_counter() - before
    shared = time.perf_counter() - began - sum(spent.values())
    broken = gather(broken)
    return {name: _joined(gather(parts), broken, shared + spent[name]) for name, parts in rows.items()}


def predictions_of_logits(
    rows: Iterable[tuple[np.ndarray, Tensor, Tensor]], broken: list[BrokenImage], seconds: float
) -> Predictions:
    """Predictions out of the indices (n,), labels (n,) and logits (n, classes) of each part of a split.

    Args:
        seconds: that it took to get as far as what the logits were made of.
    """
    began = time.perf_counter()
    outcomes = [_outcome(indices, labels, logits) for indices, labels, logits in rows]
    return _joined(outcomes, broken, seconds + time.perf_counter() - began)


def _outcome(indices: np.ndarray, labels: Tensor, logits: Tensor) -> Rows:
    log_probabilities = logits.float().log_softmax(dim=1).cpu()
    best = log_probabilities.topk(min(TOP, logits.shape[1]), dim=1)
    losses = -log_probabilities.gather(1, labels[:, None]).squeeze(1)
    return indices, labels.numpy(), best.indices.numpy(), best.values[:, 0].exp().numpy(), losses.numpy()


def _joined(rows: list[Rows], broken: list[BrokenImage], seconds: float) -> Predictions:
    if not rows:
        raise UserError("none of the images to score can be read any more: is their disk still there?")
    indices, labels, top, confidence, losses = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.argsort(indices)
    return Predictions(labels[order], top[order], confidence[order], losses[order], broken, seconds)


def candidate_of(predictions: Predictions) -> Candidate:
    """How one of several sets of weights does."""
    return Candidate(top1=predictions.top1, loss=predictions.loss)


def scores_of(predictions: Predictions, *, split: str, classes: list[str], resolution: int) -> Scores:
    """The scores of one split.

    Args:
        split: its name.
        classes: names, by the numbers in the predictions.
        resolution: px that the images were shown at.
    """
    labels, first = predictions.labels, predictions.top[:, 0]
    per_class = tuple(
        ClassScores(name=name, count=int(count), precision=float(precision), recall=float(recall), f1=float(f1))
        for name, precision, recall, f1, count in zip(classes, *by_class(labels, first, len(classes)), strict=True)
    )
    return Scores(
        split=split,
        count=len(labels),
        left_out=len(predictions.broken),
        resolution=resolution,
        loss=predictions.loss,
        top1=predictions.top1,
        top5=float((predictions.top == labels[:, None]).any(1).mean()) if len(classes) > TOP else None,
        mean_per_class=float(np.mean([scores.recall for scores in per_class if scores.count])),
        ece=calibration_error(predictions.confidence, first == labels),
        per_class=per_class,
        confusion=confusion(labels, first),
        images_per_second=len(labels) / predictions.seconds,
    )


def by_class(labels: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[np.ndarray, ...]:
    """Precision, recall, F1 and images of each class; 0 where there is nothing to divide by.

    Differs: scikit-learn has this, and takes a second to import.
    """
    every = (labels[labels == predicted], predicted, labels)
    hits, named, true = (np.bincount(numbers, minlength=classes) for numbers in every)
    shares = ((hits, named), (hits, true), (2 * hits, named + true))
    return *(part / np.maximum(whole, 1) for part, whole in shares), true


def confusion(labels: np.ndarray, predicted: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """(true class, predicted class, images) of each pair that occurs: the whole matrix is huge for many classes."""
    pairs, counts = np.unique(np.stack([labels, predicted], axis=1), axis=0, return_counts=True)
    return tuple((true, other, count) for (true, other), count in zip(pairs.tolist(), counts.tolist(), strict=True))


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Expected calibration error over 15 bins of equal width, in [0, 1].

    Source: Guo et al. 2017, arXiv 1706.04599, equation 3.
    """
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    gap = np.bincount(bins, weights=confidence - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(confidence))
