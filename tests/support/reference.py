"""The paper's training of a small F-style network in NumPy float64, written from the paper and not from any library.

It brings its own differentiation, so that what torch, timm and nfft compute can be compared with something that shares
no code with them. Parameters are named and laid out as in the state dict of timm's `dm_nfnet_*`.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, expit

ALPHA, GELU_GAIN = 0.2, 1.7015043497085571
STEM_STRIDES, STAGE_STRIDES = (2, 1, 1, 2), (1, 2, 2, 2)
# The weight of the classifier; everything else is clipped.
UNCLIPPED = "head.fc.weight"

Arrays = dict[str, np.ndarray]
MicroBatch = tuple[np.ndarray, np.ndarray]


class Value:
    """An array, and how a gradient with respect to it goes back to what it was made from."""

    def __init__(self, data: np.ndarray | float, *parents: tuple["Value", Callable[[np.ndarray], np.ndarray]]) -> None:
        self.data = np.asarray(data, np.float64)
        self.parents = parents

    def __add__(self, other: "Value") -> "Value":
        return Value(self.data + other.data, (self, lambda g: g), (other, lambda g: g))

    def __mul__(self, other: "Value | float") -> "Value":
        factor = other if isinstance(other, Value) else Value(other)
        return Value(self.data * factor.data, (self, lambda g: g * factor.data), (factor, lambda g: g * self.data))


def gradients(loss: Value, parameters: dict[str, Value]) -> Arrays:
    """Gradient of the scalar `loss` by each of `parameters`."""
    by_value = {id(loss): np.ones(())}
    for value in reversed(_parents_first(loss)):
        for parent, pull_back in value.parents:
            gradient = _summed_to(parent.data.shape, pull_back(by_value[id(value)]))
            by_value[id(parent)] = by_value.get(id(parent), 0.0) + gradient
    return {name: np.asarray(by_value[id(value)]) for name, value in parameters.items()}


def _parents_first(value: Value, seen: set[int] | None = None) -> list[Value]:
    seen = set() if seen is None else seen
    seen.add(id(value))
    before = [
        ancestor for parent, _ in value.parents if id(parent) not in seen for ancestor in _parents_first(parent, seen)
    ]
    return [*before, value]


def _summed_to(shape: tuple[int, ...], gradient: np.ndarray) -> np.ndarray:
    """Undo broadcasting: each element gets the sum over the places where it was used."""
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    stretched = tuple(i for i, size in enumerate(shape) if size == 1 and gradient.shape[i] > 1)
    return gradient.sum(axis=stretched, keepdims=True)


def elementwise(x: Value, data: np.ndarray, slope: np.ndarray) -> Value:
    """What each element of x has become on its own, and the slope of that."""
    return Value(data, (x, lambda g: g * slope))


def relu(x: Value) -> Value:
    """max(x, 0)."""
    return elementwise(x, np.maximum(x.data, 0), x.data > 0)


def sigmoid(x: Value) -> Value:
    """1 / (1 + exp(-x))."""
    y = expit(x.data)
    return elementwise(x, y, y * (1 - y))


def gelu_erf(x: Value) -> Value:
    """x·Φ(x)."""
    share = 0.5 * (1 + erf(x.data / math.sqrt(2)))
    density = np.exp(-0.5 * x.data**2) / math.sqrt(2 * math.pi)
    return elementwise(x, x.data * share, share + x.data * density)


def gelu_tanh(x: Value) -> Value:
    """The approximation of x·Φ(x) that is JAX's default."""
    scale = math.sqrt(2 / math.pi)
    bent = np.tanh(scale * (x.data + 0.044715 * x.data**3))
    bent_slope = (1 - bent**2) * scale * (1 + 3 * 0.044715 * x.data**2)
    return elementwise(x, 0.5 * x.data * (1 + bent), 0.5 * (1 + bent) + 0.5 * x.data * bent_slope)


GELU = {"erf": gelu_erf, "tanh": gelu_tanh}


def mean(x: Value, axes: Sequence[int]) -> Value:
    """Mean over `axes`, which stay with length 1."""
    data = x.data.mean(tuple(axes), keepdims=True)
    return Value(data, (x, lambda g: np.broadcast_to(g * (data.size / x.data.size), x.data.shape)))


def reshape(x: Value, *shape: int) -> Value:
    """The same elements in the same order."""
    return Value(x.data.reshape(shape), (x, lambda g: g.reshape(x.data.shape)))


def linear(x: Value, weight: Value, bias: Value) -> Value:
    """x (n, in), weight (out, in), bias (out,)."""
    return Value(x.data @ weight.data.T, (x, lambda g: g @ weight.data), (weight, lambda g: g.T @ x.data)) + bias


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, the odd one after, for ceil(size / stride) outputs. Source: TensorFlow's SAME."""
    total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


def windows(x: np.ndarray, kernel: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """x (n, c, h, w) with its padding, and a view of that of shape (n, c, out h, out w, kernel, kernel)."""
    padded = np.pad(x, [(0, 0), (0, 0), *(same_padding(size, kernel, stride) for size in x.shape[2:])])
    seen = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3), writeable=False)
    return padded, seen[:, :, ::stride, ::stride]


def conv2d(x: Value, weight: Value, bias: Value, stride: int = 1) -> Value:
    """x (n, in, h, w), weight (out, in / groups, k, k), bias (out,); SAME padding."""
    (n, channels, height, width), (out, fan, kernel, _) = x.data.shape, weight.data.shape
    groups = channels // fan
    padded, seen = windows(x.data, kernel, stride)
    rows, columns = seen.shape[2:4]
    seen = seen.reshape(n, groups, fan, rows, columns, kernel, kernel)
    filters = weight.data.reshape(groups, out // groups, fan, kernel, kernel)

    def to_x(g: np.ndarray) -> np.ndarray:
        g = g.reshape(n, groups, out // groups, rows, columns)
        total = np.zeros_like(padded)
        for i in range(kernel):
            for j in range(kernel):
                part = np.einsum("ngoyx,goc->ngcyx", g, filters[..., i, j], optimize=True)
                target = total[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
                target += part.reshape(target.shape)
        top, left = (same_padding(size, kernel, stride)[0] for size in (height, width))
        return total[:, :, top : top + height, left : left + width]

    def to_weight(g: np.ndarray) -> np.ndarray:
        g = g.reshape(n, groups, out // groups, rows, columns)
        return np.einsum("ngoyx,ngcyxij->gocij", g, seen, optimize=True).reshape(weight.data.shape)

    data = np.einsum("ngcyxij,gocij->ngoyx", seen, filters, optimize=True).reshape(n, out, rows, columns)
    return Value(data, (x, to_x), (weight, to_weight)) + reshape(bias, 1, out, 1, 1)


def average_pool(x: Value) -> Value:
    """Mean over 2×2 windows at stride 2; SAME padding, which is not counted. Source: section 3."""
    height, width = x.data.shape[2:]
    count = windows(np.ones((1, 1, height, width)), 2, 2)[1].sum((4, 5))
    means = windows(x.data, 2, 2)[1].sum((4, 5)) / count
    # With windows of two there is padding only after.
    return Value(means, (x, lambda g: np.kron(g / count, np.ones((2, 2)))[:, :, :height, :width]))


def cross_entropy(logits: Value, targets: np.ndarray) -> Value:
    """Mean over the images of -sum(target · log softmax); targets (n, classes) are probabilities."""
    shifted = logits.data - logits.data.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    slope = (np.exp(log_p) - targets) / len(targets)
    return Value(-(targets * log_p).sum(1).mean(), (logits, lambda g: g * slope))


def standardize(weight: Value, gain: Value) -> Value:
    """gain · (W - mean) · rsqrt(max(var · fan_in, 1e-4)), over the fan-in of each output channel. Source: section 2."""
    fan_in = weight.data[0].size
    centered = weight + mean(weight, (1, 2, 3)) * -1.0
    spread = mean(centered * centered, (1, 2, 3)) * fan_in
    floored = np.maximum(spread.data, 1e-4)
    scale = elementwise(spread, floored**-0.5, np.where(spread.data > 1e-4, -0.5 * floored**-1.5, 0))
    return gain * centered * scale


@dataclass
class Network:
    """An F-style network; which blocks it has is read off the names of its parameters. Source: section 3."""

    w: dict[str, Value]
    gelu: str

    def __call__(self, images: np.ndarray) -> Value:
        """Logits of images (n, 3, h, w), without dropout and stochastic depth."""
        h = Value(images)
        for i, stride in enumerate(STEM_STRIDES, 1):
            h = self.convolution(f"stem.conv{i}", h if i == 1 else self.nonlinearity(h), stride)
        for name, beta, stride, first in self.blocks():
            h = self.block(name, h, beta, stride, first)
        h = self.nonlinearity(self.convolution("final_conv", h))
        pooled = reshape(mean(h, (2, 3)), *h.data.shape[:2])
        return linear(pooled, self.w["head.fc.weight"], self.w["head.fc.bias"])

    def nonlinearity(self, x: Value) -> Value:
        """gelu with the constant that keeps the variance. Source: section 2."""
        return GELU[self.gelu](x) * GELU_GAIN

    def convolution(self, name: str, x: Value, stride: int = 1) -> Value:
        """With standardized weights."""
        weight = standardize(self.w[f"{name}.weight"], self.w[f"{name}.gain"])
        return conv2d(x, weight, self.w[f"{name}.bias"], stride)

    def blocks(self) -> Iterator[tuple[str, float, int, bool]]:
        """Name, beta, stride and whether it is its stage's first, of each block."""
        variance = 1.0
        for stage, stride in enumerate(STAGE_STRIDES):
            depth = len({name.split(".")[2] for name in self.w if name.startswith(f"stages.{stage}.")})
            for block in range(depth):
                yield f"stages.{stage}.{block}", variance**-0.5, stride if block == 0 else 1, block == 0
                variance = (1.0 if block == 0 else variance) + ALPHA**2

    def block(self, name: str, h: Value, beta: float, stride: int, first: bool) -> Value:
        """The residual branch on top of the shortcut, which the first block of a stage projects."""
        out = self.nonlinearity(h) * beta
        if first:
            h = self.convolution(f"{name}.downsample.conv", average_pool(out) if stride == 2 else out)
        out = self.convolution(f"{name}.conv1", out)
        out = self.convolution(f"{name}.conv2", self.nonlinearity(out), stride)
        out = self.convolution(f"{name}.conv2b", self.nonlinearity(out))
        out = self.convolution(f"{name}.conv3", self.nonlinearity(out))
        out = self.squeeze_excite(f"{name}.attn_last", out) * 2.0
        return h + out * self.w[f"{name}.skipinit_gain"] * ALPHA

    def squeeze_excite(self, name: str, x: Value) -> Value:
        """Channels by how much they matter. Its two layers are linear ones, which are not standardized."""
        hidden = relu(conv2d(mean(x, (2, 3)), self.w[f"{name}.fc1.weight"], self.w[f"{name}.fc1.bias"]))
        return x * sigmoid(conv2d(hidden, self.w[f"{name}.fc2.weight"], self.w[f"{name}.fc2.bias"]))


def smooth(targets: np.ndarray, smoothing: float) -> np.ndarray:
    """Label smoothing of probabilities (n, classes). Source: section 4."""
    return (1 - smoothing) * targets + smoothing / targets.shape[1]


def loss_and_gradients(
    weights: Arrays, images: np.ndarray, targets: np.ndarray, *, gelu: str, smoothing: float
) -> tuple[float, Arrays]:
    """Of the network with these weights: mean loss over the images, and its gradient by each weight."""
    parameters = {name: Value(weight) for name, weight in weights.items()}
    loss = cross_entropy(Network(parameters, gelu)(images), smooth(targets, smoothing))
    return float(loss.data), gradients(loss, parameters)


def unit_norms(array: np.ndarray) -> np.ndarray:
    """Norm of each row with its fan-in; of the whole, if at most one axis is longer than 1. Source: section 1."""
    if np.squeeze(array).ndim <= 1:
        return np.sqrt((array**2).sum())
    return np.sqrt((array**2).sum(axis=tuple(range(1, array.ndim)), keepdims=True))


def clip(weight: np.ndarray, gradient: np.ndarray, clipping: float, eps: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """The gradient clipped, and which units were. Source: section 1."""
    norms, limits = unit_norms(gradient), clipping * np.maximum(unit_norms(weight), eps)
    over = norms > limits
    return np.where(over, gradient * (limits / np.maximum(norms, 1e-6)), gradient), over


def learning_rate(step: int, peak: float, total_steps: int, warmup_steps: int) -> float:
    """Up from 0 in a line over `warmup_steps`, then down to 0 as a cosine. Source: section 4."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))


def nesterov(w: np.ndarray, g: np.ndarray, v: np.ndarray, lr: float, momentum: float) -> tuple[np.ndarray, np.ndarray]:
    """The next weight and velocity; the decay is in the gradient already. Source: section 4."""
    v = momentum * v + g
    return w - lr * (g + momentum * v), v


def ema_decay(step: int, limit: float) -> float:
    """Decay of the average at `step`, from 0. Source: section 4."""
    return min(limit, (1 + step) / (10 + step))


def decays(name: str) -> bool:
    """Weights do; gains, biases and skip gains do not. Source: section 4."""
    return name.endswith(".weight")


def ascent(weights: Arrays, gradient: Arrays, rho: float) -> Arrays:
    """The weights at w + ρ · g/‖g‖, with one norm over all parameters. Source: section 5."""
    norm = math.sqrt(sum((array**2).sum() for array in gradient.values()))
    return {name: weight + rho / norm * gradient[name] for name, weight in weights.items()}


@dataclass(frozen=True)
class Settings:
    """Of a run; without SAM `sam_rho` is None, without AGC `clipping`."""

    total_steps: int
    warmup_steps: int
    lr: float
    weight_decay: float
    ema_decay: float
    label_smoothing: float
    clipping: float | None
    momentum: float = 0.9
    sam_rho: float | None = None
    sam_share: float = 0.2
    gelu: str = "erf"


class Reference:
    """A run: where it stands, and of each step its mean loss (with SAM: at w + ε) and the share of units clipped."""

    def __init__(self, weights: Arrays, settings: Settings) -> None:
        self.settings = settings
        self.weights, self.average = dict(weights), dict(weights)
        self.momentum = {name: np.zeros_like(weight) for name, weight in weights.items()}
        self.losses: list[float] = []
        self.clipped: list[float] = []

    def run(self, steps: Iterable[Sequence[MicroBatch]]) -> "Reference":
        """Take a step for each sequence of micro-batches: images (n, 3, h, w) and class probabilities (n, classes)."""
        for micro_batches in steps:
            self.step(micro_batches)
        return self

    def step(self, micro_batches: Sequence[MicroBatch]) -> None:
        """One step of the optimizer and of the average."""
        settings, t = self.settings, len(self.losses)
        results = [self.gradient(*micro_batch) for micro_batch in micro_batches]
        gradient = {name: np.mean([g[name] for _, g in results], axis=0) for name in self.weights}
        if settings.clipping is not None:
            gradient = self.clip(gradient, settings.clipping)
        lr = learning_rate(t, settings.lr, settings.total_steps, settings.warmup_steps)
        decay = ema_decay(t, settings.ema_decay)
        for name, w in self.weights.items():
            g = gradient[name] + (settings.weight_decay * w if decays(name) else 0)
            self.weights[name], self.momentum[name] = nesterov(w, g, self.momentum[name], lr, settings.momentum)
            self.average[name] = decay * self.average[name] + (1 - decay) * self.weights[name]
        self.losses.append(float(np.mean([loss for loss, _ in results])))

    def gradient(self, images: np.ndarray, targets: np.ndarray) -> tuple[float, Arrays]:
        """Loss and gradient of a micro-batch; with SAM after an ascent on the first of it. Source: section 5."""
        settings, weights = self.settings, self.weights
        how = {"gelu": settings.gelu, "smoothing": settings.label_smoothing}
        if settings.sam_rho is not None:
            first = slice(max(1, round(settings.sam_share * len(images))))
            _, uphill = loss_and_gradients(weights, images[first], targets[first], **how)
            weights = ascent(weights, uphill, settings.sam_rho)
        return loss_and_gradients(weights, images, targets, **how)

    def clip(self, gradient: Arrays, clipping: float) -> Arrays:
        """AGC of everything that is clipped. Source: section 1."""
        results = {n: clip(self.weights[n], g, clipping) for n, g in gradient.items() if n != UNCLIPPED}
        self.clipped.append(float(np.concatenate([over.ravel() for _, over in results.values()]).mean()))
        return gradient | {name: clipped for name, (clipped, _) in results.items()}
