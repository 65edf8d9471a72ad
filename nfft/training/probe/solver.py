"""Multinomial logistic regression on features that need not fit in memory: L-BFGS along a path of L2 penalties."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from nfft.errors import UserError
from nfft.training.probe.features import Features

# From the strongest down, each from the solution of the one before it.
L2 = tuple(float(f"{10 ** (-half / 2):.2g}") for half in range(-2, 11))
CHUNK = 8192
# Rows are kept as float32 on the device when they fit in this many bytes.
CACHE_BYTES = 1 << 30
# Between two losses one of which is taken for no better than the other, relative: float32's last digits.
TOLERANCE = 1e-7
ITERATIONS = 500
# Axes are looked for when there is a row for so many features; with fewer rows, more iterations cost less.
FEATURES_A_ROW = 4
# No axis is stretched farther than one of this curvature.
FLATTEST = 1e-6


@dataclass(frozen=True)
class Solution:
    """A classifier, of features as they are.

    Attributes:
        l2: the penalty is half of this times the squared length of the weights of standardised features.
        weight: (classes, width), float32.
        bias: (classes,), float32.
        loss: mean negative log-likelihood of the rows it was fitted to, penalty left out.
        iterations: of L-BFGS.
        settled: whether it came to rest; without a penalty, there may be no minimum.
    """

    l2: float
    weight: Tensor
    bias: Tensor
    loss: float
    iterations: int
    settled: bool

    def logits(self, rows: np.ndarray) -> Tensor:
        """Logits (n, classes) of features (n, width)."""
        return F.linear(torch.from_numpy(rows.astype(np.float32)), self.weight, self.bias)


class Rows:
    """Features with their classes, shifted to mean 0 and scaled to variance 1, and turned to their principal axes.

    The turn changes neither losses nor the length of weights; along these axes the loss has curvatures that are known.

    Args:
        parts: views of the same images; every readable row of each counts alike.
        device: where they are multiplied.

    Attributes:
        mean: of each feature, (width,), float32.
        axes: (width, width), float32: coordinates are (features - mean) @ axes.
        variances: of each coordinate, (width,), float64.
        kept: all coordinates with their classes, where they fit in memory; otherwise rows are read each time.
    """

    def __init__(self, parts: Sequence[Features], device: torch.device) -> None:
        self.parts, self.device = parts, device
        self.count = sum(len(part.readable) for part in parts)
        if not self.count:
            raise UserError("none of the training images can be read any more: is their disk still there?")
        self.width = parts[0].values.shape[1]
        mean, scale = self._moments()
        self.mean = torch.from_numpy(mean).to(device, torch.float32)
        self.axes, self.variances = self._principal(torch.from_numpy(scale).to(device, torch.float32))
        fits = self.count * self.width * 4 <= CACHE_BYTES
        self.kept = [(values @ self.axes, labels) for values, labels in self._read()] if fits else None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows (n, width), float32, and their classes (n,), a chunk at a time: as kept, or else shifted alone."""
        return iter(self.kept) if self.kept is not None else self._read()

    def weight_of(self, weight: Tensor) -> Tensor:
        """The weights (classes, width) for coordinates, as weights for the rows that one iterates over."""
        return weight if self.kept is not None else weight @ self.axes.T

    def along_axes(self, gradient: Tensor) -> Tensor:
        """The other way round, for the gradient of such weights."""
        return gradient if self.kept is not None else gradient @ self.axes

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each feature, in float64."""
        total, squares = np.zeros(self.width), np.zeros(self.width)
        for part, rows in self._chunks():
            values = part.values[rows].astype(np.float64)
            total += values.sum(0)
            squares += np.square(values).sum(0)
        mean = total / self.count
        variance = squares / self.count - np.square(mean)
        # A feature that is the same everywhere tells nothing, and stays as it is.
        return mean, np.sqrt(np.where(variance > 1e-12 * np.square(mean) + 1e-24, variance, 1))

    def _principal(self, scale: Tensor) -> tuple[Tensor, np.ndarray]:
        if self.count * FEATURES_A_ROW < self.width:
            return torch.diag(1 / scale), np.ones(self.width)
        products = torch.zeros(self.width, self.width, device=self.device)
        for values, _ in self._read():
            values /= scale
            products += values.T @ values
        # Of accelerators, only NVIDIA's have it.
        variances, turn = torch.linalg.eigh((products if self.device.type == "cuda" else products.cpu()) / self.count)
        return turn.to(self.device) / scale[:, None], variances.cpu().double().clamp(min=0).numpy()

    def _read(self) -> Iterator[tuple[Tensor, Tensor]]:
        for part, rows in self._chunks():
            # float16 on its way to the device.
            values = torch.from_numpy(part.values[rows]).to(self.device).float() - self.mean
            yield values, torch.from_numpy(part.labels[rows]).to(self.device)

    def _chunks(self) -> Iterator[tuple[Features, np.ndarray]]:
        return ((part, rows) for part in self.parts for rows in part.chunks(CHUNK))


def path(rows: Rows, classes: int, penalties: Sequence[float] = L2) -> Iterator[Solution]:
    """The solution for each penalty, in their order, each found from the one before it."""
    point = np.zeros((classes, rows.width + 1))
    for l2 in penalties:
        point, found = _minimise(rows, point, l2)
        weight = torch.from_numpy(point[:, :-1]).to(rows.device, torch.float32) @ rows.axes.T
        bias = torch.from_numpy(point[:, -1]) - (weight @ rows.mean).cpu().double()
        yield Solution(l2, weight.cpu(), bias.float(), _loss(rows, point)[0], int(found.nit), bool(found.success))


def _minimise(rows: Rows, start: np.ndarray, l2: float) -> tuple[np.ndarray, Any]:
    """Weights and biases (classes, width + 1) at the minimum, and scipy's report.

    Every axis is stretched so that the loss curves alike along each where all classes are equally likely: steps are
    then nearly Newton's.
    """
    classes = len(start)
    curvature = np.append(rows.variances / classes + l2, 1 / classes)
    stretch = 1 / np.sqrt(np.maximum(curvature, FLATTEST))

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        point = flat.reshape(start.shape) * stretch
        loss, gradient = _loss(rows, point)
        gradient[:, :-1] += l2 * point[:, :-1]
        return loss + l2 / 2 * float(np.square(point[:, :-1]).sum()), (gradient * stretch).ravel()

    options: dict[str, Any] = {"maxiter": ITERATIONS, "ftol": TOLERANCE, "gtol": 1e-6}
    found = minimize(objective, (start / stretch).ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(start.shape) * stretch, found


def _loss(rows: Rows, point: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean negative log-likelihood, and its gradient (classes, width + 1), along the axes."""
    weight = rows.weight_of(torch.from_numpy(point[:, :-1]).to(rows.device, torch.float32))
    bias = torch.from_numpy(point[:, -1]).to(rows.device, torch.float32)
    total, gradient = 0.0, torch.zeros_like(weight)
    by_bias = torch.zeros_like(bias)
    for values, labels in rows:
        log_probabilities = F.linear(values, weight, bias).log_softmax(1)
        total -= float(log_probabilities.gather(1, labels[:, None]).cpu().double().sum())
        error = log_probabilities.exp_()
        error[torch.arange(len(labels), device=rows.device), labels] -= 1
        gradient += error.T @ values
        by_bias += error.sum(0)
    whole = torch.cat([rows.along_axes(gradient), by_bias[:, None]], 1).cpu().double().numpy()
    return total / rows.count, whole / rows.count
