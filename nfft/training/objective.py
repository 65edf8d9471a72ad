"""What training minimizes: targets of a batch, their loss, and the figure that is followed."""

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nfft.config.recipe import Recipe
from nfft.data.loader import Batch


class Objective(Protocol):
    """What a step needs to know of what is asked of the network."""

    def targets(self, batch: Batch, device: torch.device) -> Tensor:
        """What the logits of `batch` are to become, shape (n, classes), on `device`."""

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of logits (n, classes), a scalar."""

    def accuracy(self, logits: Tensor, batch: Batch) -> Tensor:
        """The share of images whose own class is answered, a scalar on the device of `logits`."""


@dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy with smoothed labels, for images of one class each.

    Attributes:
        classes: how many.
        label_smoothing: the share of each target that is spread over all classes.

    Source: arXiv 2102.06171, appendix A.
    """

    classes: int
    label_smoothing: float = 0.0

    def targets(self, batch: Batch, device: torch.device) -> Tensor:
        """Class probabilities: each image's own class by its ratio, its partner's by the rest."""
        labels, partners = (labels.to(device, non_blocking=True) for labels in (batch.labels, batch.partners))
        ratios = batch.ratios.to(device, non_blocking=True)[:, None]
        return F.one_hot(labels, self.classes) * ratios + F.one_hot(partners, self.classes) * (1 - ratios)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)

    def accuracy(self, logits: Tensor, batch: Batch) -> Tensor:
        return share_of_hits(logits, batch)


@dataclass(frozen=True)
class SoftCrossEntropy:
    """Cross-entropy with a target of its own for each image, which need not be one class.

    Attributes:
        table: (images, classes), on the CPU: class probabilities of each image of the split, by its index there.
    """

    table: Tensor

    def targets(self, batch: Batch, device: torch.device) -> Tensor:
        """Class probabilities: each image's own by its ratio, its partner's by the rest."""
        assert batch.partner_indices is not None
        own, partners = self.table[batch.indices], self.table[batch.partner_indices]
        ratios = batch.ratios[:, None]
        return (own * ratios + partners * (1 - ratios)).to(device, non_blocking=True)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets)

    def accuracy(self, logits: Tensor, batch: Batch) -> Tensor:
        return share_of_hits(logits, batch)


def share_of_hits(logits: Tensor, batch: Batch) -> Tensor:
    """The share of images whose own class has the largest logit."""
    labels = batch.labels.to(logits.device, non_blocking=True)
    return (logits.argmax(1) == labels).float().mean()


def objective_of(recipe: Recipe, classes: int) -> Objective:
    """What a recipe asks of a network that tells `classes` apart."""
    return CrossEntropy(classes, recipe.label_smoothing)
