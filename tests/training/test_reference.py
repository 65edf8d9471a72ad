"""nfft trains as the paper does: timm's network and nfft's steps against the paper's arithmetic in NumPy float64."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from accelerate import Accelerator
from reference import Network, Value, loss_and_gradients
from reference_run import CLASSES, RECIPE, SAM, by_nfft, by_reference, distance, network, result, state
from timm.layers.activations import gelu_tanh
from torch import nn

from nfft.config.recipe import Recipe
from nfft.distributed.accelerator import make_accelerator

RECIPES = {
    "plain": RECIPE,
    "SAM": replace(RECIPE, **SAM),
    "no clipping": replace(RECIPE, clipping=None, lr=0.05, accumulation_steps=1),
}


def images(side: int, count: int = 4) -> np.ndarray:
    """Random images that are the same in float32 and float64."""
    return np.random.default_rng(2).standard_normal((count, 3, side, side), np.float32).astype(np.float64)


def test_gradient_is_that_of_central_differences() -> None:
    weights, rng = state(network()), np.random.default_rng(0)
    # With odd sides padding and pooling are uneven.
    batch, targets = images(9, 2), rng.dirichlet(np.ones(CLASSES), size=2)
    _, gradient = loss_and_gradients(weights, batch, targets, gelu="erf", smoothing=0.1)

    def loss(name: str, place: tuple[int, ...], move: float) -> float:
        moved = weights[name].copy()
        moved[place] += move
        parameters = {each: Value(weight) for each, weight in (weights | {name: moved}).items()}
        logits = Network(parameters, "erf")(batch)
        return float(reference.cross_entropy(logits, reference.smooth(targets, 0.1)).data)

    for name, weight in weights.items():
        place = tuple(rng.integers(weight.shape)) if weight.ndim else ()
        slope = (loss(name, place, 1e-5) - loss(name, place, -1e-5)) / 2e-5
        assert gradient[name][place] == pytest.approx(slope, rel=1e-6, abs=1e-10), name


@pytest.mark.parametrize("gelu", reference.GELU.values(), ids=reference.GELU.keys())
def test_gelu_and_its_slope(gelu: Callable[[Value], Value]) -> None:
    x = {"x": Value(np.linspace(-5, 5, 101))}
    above, below = (gelu(Value(x["x"].data + move)).data for move in (1e-6, -1e-6))
    total = reference.reshape(reference.mean(gelu(x["x"]), (0,))) * 101.0
    np.testing.assert_allclose(reference.gradients(total, x)["x"], (above - below) / 2e-6, rtol=0, atol=1e-9)


def test_standardise_below_and_above_its_floor() -> None:
    rng = np.random.default_rng(0)
    weight, gain, upstream = rng.standard_normal((2, 3, 3, 3)), rng.uniform(0.5, 2, (2, 1, 1, 1)), rng.random((2, 27))
    weight[1] *= 1e-3

    def loss(weight: np.ndarray) -> Value:
        inputs["weight"] = Value(weight)
        made = reference.standardize(inputs["weight"], inputs["gain"])
        rows.append(made.data.reshape(2, 27))
        total = reference.mean(made * Value(upstream.reshape(made.data.shape)), (0, 1, 2, 3))
        return reference.reshape(total)

    inputs, rows = {"gain": Value(gain)}, []
    gradient = reference.gradients(loss(weight), inputs)
    flat, scale = weight.reshape(2, 27), gain.reshape(2)
    centred = flat - flat.mean(1, keepdims=True)
    np.testing.assert_allclose(rows[0][0], scale[0] * centred[0] / np.sqrt((centred[0] ** 2).sum()), rtol=1e-13)
    np.testing.assert_allclose(rows[0][1], scale[1] * centred[1] * 100, rtol=1e-13)
    for place in [(0, 1, 2, 0), (1, 2, 0, 1)]:
        move = np.zeros_like(weight)
        move[place] = 1e-6
        slope = float((loss(weight + move).data - loss(weight - move).data) / 2e-6)
        assert gradient["weight"][place] == pytest.approx(slope, rel=1e-6)


def logits(model: nn.Module, batch: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(batch).to(next(model.parameters()).dtype)).double().numpy()


@pytest.mark.parametrize("side", [32, 33])
def test_timm_computes_the_papers_network(side: int) -> None:
    batch, model = images(side), network()
    weights = {name: Value(weight) for name, weight in state(model).items()}
    erf, tanh = (Network(weights, gelu)(batch).data for gelu in ("erf", "tanh"))
    assert erf.std() > 0.1, "what is compared must not be small"
    found = logits(model, batch)
    np.testing.assert_allclose(found, erf, rtol=0, atol=1e-6)
    np.testing.assert_allclose(logits(network(std_conv_eps=1e-20).double(), batch), erf, rtol=0, atol=1e-14)

    # The authors' gelu is the approximation: no float32 noise, and less than what timm's own eps does.
    assert 1e-5 < np.abs(found - tanh).max() < 1e-3
    for module in model.modules():
        if hasattr(module, "act_fn"):
            module.act_fn = gelu_tanh
    np.testing.assert_allclose(logits(model, batch), tanh, rtol=0, atol=1e-6)

    as_timm_has_it = np.abs(logits(network(std_conv_eps=1e-5), batch) - erf).max()
    assert as_timm_has_it > 5e-4


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_nfft_takes_the_references_steps(accelerator: Accelerator, recipe: Recipe) -> None:
    wanted = by_reference(recipe)
    if recipe.clipping is not None:
        assert 0 < min(wanted.clipped) < max(wanted.clipped) < 1, "some units must be clipped, and some not"

    # In float64 there is nothing but the last digits of rounding between the two.
    found, reports = by_nfft(recipe, accelerator, double=True)
    assert distance(found, result(wanted)) < 1e-11
    assert [report.loss for report in reports] == pytest.approx(wanted.losses, rel=1e-12)

    found, reports = by_nfft(recipe, accelerator, double=False)
    assert distance(found, result(wanted), "weights") < 5e-6
    assert distance(found, result(wanted), "average") < 5e-6
    # A skip gain's gradient is a sum over all of a block's output, in which much cancels.
    assert distance(found, result(wanted), "momentum") < 2e-4
    assert [report.loss for report in reports] == pytest.approx(wanted.losses, abs=2e-6)
    assert [report.clipped for report in reports] == pytest.approx(wanted.clipped or [0] * len(reports))
    rates = [reference.learning_rate(step, recipe.lr, 6, 2) for step in range(6)]
    assert [report.lr for report in reports] == pytest.approx(rates)


def each_gain_alone(array: np.ndarray) -> np.ndarray:
    """Norms of units as they would be if a gain's elements were some."""
    axes = tuple(range(1, array.ndim))
    return np.sqrt((array**2).sum(axis=axes, keepdims=True)) if array.ndim == 4 else np.linalg.norm(array)


SHORT = replace(RECIPE, total_steps=3, warmup_fraction=0.67, batch_size=6, accumulation_steps=1, **SAM)
MISTAKES = {
    "gains decay": {"decays": lambda name: True},
    "gains are clipped one by one": {"unit_norms": each_gain_alone},
    "the classifier is clipped": {"UNCLIPPED": None},
    "the classifier's bias is not": {"UNCLIPPED": "head.fc.bias"},
    "the average's decay is constant": {"ema_decay": lambda step, limit: limit},
    "the average's decay is a step ahead": {"ema_decay": lambda step, limit: min(limit, (2 + step) / (11 + step))},
    "the ascent goes downhill": {"ascent": lambda w, g, rho, up=reference.ascent: up(w, g, -rho)},
    "the ascent is each parameter's own": {
        "ascent": lambda w, g, rho, up=reference.ascent: {
            name: up({name: w[name]}, {name: g[name]}, rho)[name] for name in w
        }
    },
    "the ascent sees the whole batch": {"sam_share": 1.0},
    "labels are not smoothed": {"label_smoothing": 0.0},
    "momentum is not Nesterov's": {
        "nesterov": lambda w, g, v, lr, momentum: (w - lr * (momentum * v + g), momentum * v + g)
    },
    "warm-up is a step short": {"warmup_steps": 1},
}


@pytest.fixture(scope="module")
def short_run() -> dict[str, np.ndarray]:
    accelerator = make_accelerator("fp32")
    found, _ = by_nfft(SHORT, accelerator, double=True)
    assert distance(found, result(by_reference(SHORT))) < 1e-11
    return found


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_would_show(short_run, mistake: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {name: value for name, value in mistake.items() if not hasattr(reference, name)}
    for name in mistake.keys() - settings.keys():
        monkeypatch.setattr(reference, name, mistake[name])
    assert distance(short_run, result(by_reference(SHORT, **settings))) > 1e-4
