"""Multinomial logistic regression on features that need not fit in memory: L-BFGS along a path of L2 penalties."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nfft.errors import UserError
from nfft.features import Features

# From the strongest down, each from the solution of the one before it.
L2 = tuple(float(f"{10 ** (-half / 2):.2g}") for half in range(-2, 11))
CHUNK = 8192
# Features are kept as float32 on the device when they fit in this many bytes.
CACHE_BYTES = 1 << 30
# Between two losses one of which is taken for no better than the other, relative: float32's last digits.
TOLERANCE = 1e-8
ITERATIONS = 500


@dataclass(frozen=True)
class Solution:
    """A classifier, of features as they are.

    Attributes:
        l2: the penalty is half of this times the squared length of the weights of standardised features.
        weight: (classes, width), float32.
        bias: (classes,), float32.
        loss: mean negative log-likelihood of the rows it was fitted to, penalty left out.
        iterations: of L-BFGS.
    """

    l2: float
    weight: Tensor
    bias: Tensor
    loss: float
    iterations: int

    def logits(self, rows: np.ndarray) -> Tensor:
        """Logits (n, classes) of features (n, width)."""
        return F.linear(torch.from_numpy(rows.astype(np.float32)), self.weight, self.bias)


class Rows:
    """Features with their classes, each feature shifted and scaled to mean 0 and variance 1.

    Args:
        parts: views of the same images; every readable row of each counts alike.
        device: where they are multiplied.
    """

    def __init__(self, parts: Sequence[Features], device: torch.device) -> None:
        self.parts, self.device = parts, device
        self.count = sum(len(part.readable) for part in parts)
        if not self.count:
            raise UserError("none of the training images can be read any more: is their disk still there?")
        self.width = parts[0].values.shape[1]
        total, squares = np.zeros(self.width), np.zeros(self.width)
        for part, rows in self._chunks():
            values = part.values[rows].astype(np.float64)
            total += values.sum(0)
            squares += np.square(values).sum(0)
        self.mean = total / self.count
        variance = squares / self.count - np.square(self.mean)
        # A feature that is the same everywhere tells nothing, and stays as it is.
        self.scale = np.sqrt(np.where(variance > 1e-12 * np.square(self.mean) + 1e-24, variance, 1))
        self.kept = list(self._read()) if self.count * self.width * 4 <= CACHE_BYTES else None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Standardised rows (n, width), float32, and their classes (n,), a chunk at a time."""
        return iter(self.kept) if self.kept is not None else self._read()

    def _read(self) -> Iterator[tuple[Tensor, Tensor]]:
        mean, scale = self.mean.astype(np.float32), self.scale.astype(np.float32)
        for part, rows in self._chunks():
            values = (part.values[rows].astype(np.float32) - mean) / scale
            yield torch.from_numpy(values).to(self.device), torch.from_numpy(part.labels[rows]).to(self.device)

    def _chunks(self) -> Iterator[tuple[Features, np.ndarray]]:
        return ((part, rows) for part in self.parts for rows in part.chunks(CHUNK))


def path(rows: Rows, classes: int, penalties: Sequence[float] = L2) -> Iterator[Solution]:
    """The solution for each penalty, in their order, each found from the one before it."""
    point = np.zeros((classes, rows.width + 1))
    for l2 in penalties:
        point, loss, iterations = _minimise(rows, point, l2)
        weight = point[:, :-1] / rows.scale
        bias = point[:, -1] - weight @ rows.mean
        yield Solution(l2, torch.from_numpy(weight).float(), torch.from_numpy(bias).float(), loss, iterations)


def _minimise(rows: Rows, start: np.ndarray, l2: float) -> tuple[np.ndarray, float, int]:
    """Weights and biases (classes, width + 1) at the minimum, the loss there, and the iterations it took."""
    from scipy.optimize import minimize

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        point = flat.reshape(start.shape)
        loss, gradient = _loss(rows, point)
        gradient[:, :-1] += l2 * point[:, :-1]
        return loss + l2 / 2 * float(np.square(point[:, :-1]).sum()), gradient.ravel()

    options: dict[str, Any] = {"maxiter": ITERATIONS, "ftol": TOLERANCE, "gtol": 1e-6}
    found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    point = found.x.reshape(start.shape)
    return point, _loss(rows, point)[0], int(found.nit)


def _loss(rows: Rows, point: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean negative log-likelihood, and its gradient (classes, width + 1)."""
    weight = torch.from_numpy(point[:, :-1]).to(rows.device, torch.float32)
    bias = torch.from_numpy(point[:, -1]).to(rows.device, torch.float32)
    total, gradient = 0.0, np.zeros_like(point)
    for values, labels in rows:
        log_probabilities = F.linear(values, weight, bias).log_softmax(1)
        total -= float(log_probabilities.gather(1, labels[:, None]).cpu().double().sum())
        error = log_probabilities.exp_()
        error[torch.arange(len(labels), device=rows.device), labels] -= 1
        gradient[:, :-1] += (error.T @ values).cpu().numpy()
        gradient[:, -1] += error.sum(0).cpu().numpy()
    return total / rows.count, gradient / rows.count
