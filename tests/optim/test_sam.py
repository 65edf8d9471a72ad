"""SAM climbs by the length it was given, takes the gradient there, and comes back to the very same weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from loop import steps_of
from torch import Tensor, nn

from nfft.config.recipe import Recipe
from nfft.data.loader import Batch
from nfft.optim.sam import perturbed
from nfft.training.step import Training, optimizer_step, prepare_training

RECIPE = Recipe(
    total_steps=6,
    warmup_fraction=0,
    batch_size=20,
    lr=0.3,
    weight_decay=0.01,
    clipping=0.1,
    sam_rho=0.4,
    ema_decay=0.9,
    train_resolution=8,
    test_resolution=8,
    test_margin=0,
)


class Small(nn.Module):
    def __init__(self, normalized: bool = False) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6) if normalized else nn.Identity()
        self.head = nn.Linear(6, 4)
        draw = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = 0.5 * torch.randn(parameter.shape, generator=draw)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.body(images)).tanh().mean((2, 3)))


def weights_of(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def batch_of(size: int = 20, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(4, size=size))
    images = torch.from_numpy(rng.standard_normal((size, 3, 8, 8)).astype(np.float32))
    return Batch(images, labels, labels, torch.ones(size), torch.arange(size), broken=[])


def loss_of(network: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(network(batch.images), batch.labels)


def test_climbs_by_rho_along_the_gradient() -> None:
    network, batch = Small(), batch_of()
    before = weights_of(network)
    gradients = torch.autograd.grad(loss_of(network, batch), list(network.parameters()))
    length = torch.cat([g.double().flatten() for g in gradients]).norm()
    with perturbed(network.parameters(), loss_of(network, batch), rho=0.7):
        moved = weights_of(network)
    for old, new, gradient in zip(before, moved, gradients, strict=True):
        torch.testing.assert_close(new.double(), old.double() + 0.7 * gradient.double() / length, rtol=0, atol=1e-6)


def test_weights_return_to_the_bit_and_no_gradient_is_left() -> None:
    network, batch = Small(), batch_of()
    before = weights_of(network)
    with perturbed(network.parameters(), loss_of(network, batch)):
        assert all(parameter.grad is None for parameter in network.parameters())
        loss_of(network, batch).backward()
    assert all(map(torch.equal, weights_of(network), before))


def test_weights_return_when_the_descent_fails() -> None:
    network, batch = Small(), batch_of()
    before = weights_of(network)
    with pytest.raises(RuntimeError, match="out of luck"), perturbed(network.parameters(), loss_of(network, batch)):
        raise RuntimeError("out of luck")
    assert all(map(torch.equal, weights_of(network), before))


@pytest.mark.parametrize("factor", [2.0**16, 2.0**-20])
def test_a_scaled_loss_climbs_to_the_same_place(factor: float) -> None:
    network, batch = Small(), batch_of()
    with perturbed(network.parameters(), loss_of(network, batch)):
        plain = weights_of(network)
    with perturbed(network.parameters(), loss_of(network, batch) * factor):
        assert all(map(torch.equal, weights_of(network), plain))


def test_an_overflow_shows_in_the_descent() -> None:
    network, batch = Small(), batch_of()
    before = weights_of(network)
    with perturbed(network.parameters(), loss_of(network, batch) * torch.inf):
        assert not any(weight.isfinite().all() for weight in weights_of(network))
    assert all(map(torch.equal, weights_of(network), before))


def test_what_the_loss_ignores_stays() -> None:
    network, unused = Small(), nn.Parameter(torch.ones(3))
    frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    with perturbed([*network.parameters(), unused, frozen], loss_of(network, batch_of())):
        assert torch.equal(unused, torch.ones(3)) and torch.equal(frozen, torch.ones(3))


def test_a_flat_loss_moves_nothing() -> None:
    network = Small()
    before = weights_of(network)
    with perturbed(network.parameters(), 0 * loss_of(network, batch_of())):
        assert all(map(torch.equal, weights_of(network), before))


@pytest.mark.parametrize("rho", [-0.05, float("nan")])
def test_negative_rho_is_refused(rho: float) -> None:
    network = Small()
    with (
        pytest.raises(ValueError, match="at least 0"),
        perturbed(network.parameters(), loss_of(network, batch_of()), rho),
    ):
        pass


def take_steps(
    network: nn.Module, recipe: Recipe, accelerator: Accelerator, steps: int = 4, parts: int = 1
) -> Training:
    training = prepare_training(network, replace(recipe, accumulation_steps=parts), accelerator)
    for step in range(steps):
        micro_batches = [batch_of(20 // parts, seed=step * parts + part) for part in range(parts)]
        optimizer_step(training, micro_batches, recipe, accelerator, Tensor.float)
    return training


def test_ascent_is_by_the_first_fifth_of_the_same_batch(accelerator: Accelerator) -> None:
    batch, seen = batch_of(), []

    class Watching(Small):
        def forward(self, images: Tensor) -> Tensor:
            seen.append((images.clone(), self.body.weight.detach().clone()))
            return super().forward(images)

    network = Watching()
    start = network.body.weight.detach().clone()
    training = prepare_training(network, RECIPE, accelerator)
    optimizer_step(training, [batch], RECIPE, accelerator, Tensor.float)
    (climbed_on, at), (descended_on, uphill) = seen
    assert torch.equal(climbed_on, batch.images[:4]) and torch.equal(descended_on, batch.images)
    assert torch.equal(at, start) and not torch.equal(uphill, start)


def test_each_part_of_an_accumulated_batch_climbs_by_itself(accelerator: Accelerator) -> None:
    network, parts = Small(), [batch_of(10, seed=0), batch_of(10, seed=1)]
    by_hand, expected = Small(), None
    for part in parts:
        first = Batch(part.images[:2], part.labels[:2], part.partners[:2], part.ratios[:2], part.indices[:2], [])
        with perturbed(by_hand.parameters(), loss_of(by_hand, first), 0.4):
            gradients = torch.autograd.grad(loss_of(by_hand, part) / 2, list(by_hand.parameters()))
        expected = gradients if expected is None else [a + b for a, b in zip(expected, gradients, strict=True)]
    assert expected is not None
    recipe = replace(RECIPE, clipping=None, weight_decay=0, momentum=0, accumulation_steps=2)
    before = weights_of(network)
    training = prepare_training(network, recipe, accelerator)
    optimizer_step(training, parts, recipe, accelerator, Tensor.float)
    for old, new, gradient in zip(before, weights_of(network), expected, strict=True):
        torch.testing.assert_close(new, old - 0.3 * gradient)


def test_no_radius_is_the_plain_step(accelerator: Accelerator) -> None:
    plain = take_steps(Small(), replace(RECIPE, sam_rho=None), accelerator)
    still = take_steps(Small(), replace(RECIPE, sam_rho=0), accelerator)
    climbing = take_steps(Small(), RECIPE, accelerator)
    assert all(map(torch.equal, weights_of(plain.network), weights_of(still.network)))
    assert not all(map(torch.equal, weights_of(plain.network), weights_of(climbing.network)))


def test_running_statistics_see_each_image_once(accelerator: Accelerator) -> None:
    with_sam, plain = Small(normalized=True), Small(normalized=True)
    take_steps(with_sam, replace(RECIPE, sam_rho=0), accelerator)
    take_steps(plain, replace(RECIPE, sam_rho=None), accelerator)
    assert with_sam.norm.num_batches_tracked == 4
    for name, buffer in plain.named_buffers():
        assert torch.equal(buffer, dict(with_sam.named_buffers())[name]), name


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("rho", [None, 0.4])
def test_scaled_gradients_train_as_unscaled_ones(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, rho: float | None, parts: int
) -> None:
    recipe = replace(RECIPE, sam_rho=rho)
    plain = take_steps(Small(), recipe, accelerator, parts=parts)
    scale_losses(accelerator, monkeypatch)
    scaled = take_steps(Small(), recipe, accelerator, parts=parts)
    assert all(map(torch.equal, weights_of(scaled.network), weights_of(plain.network)))
    assert plain.ema is not None and scaled.ema is not None
    assert all(torch.equal(scaled.ema.average[name], average) for name, average in plain.ema.average.items())


def test_an_overflow_in_the_ascent_skips_the_step_and_lowers_the_scale(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler = scale_losses(accelerator, monkeypatch, scale=3e38)
    network, batch = Small(), batch_of()
    network.body.weight.register_hook(lambda gradient: gradient * 1e4)  # more than float32 holds at this scale
    before = weights_of(network)
    training = prepare_training(network, RECIPE, accelerator)
    optimizer_step(training, [batch], RECIPE, accelerator, Tensor.float)
    assert all(map(torch.equal, weights_of(network), before))
    assert scaler.get_scale() < 3e38


def test_a_run_goes_on_after_an_overflow_in_the_ascent(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale_losses(accelerator, monkeypatch, scale=3e38)
    network = Small()
    network.body.weight.register_hook(lambda gradient: gradient * 1e4)
    training = prepare_training(network, RECIPE, accelerator)
    batches = iter([batch_of(seed=step) for step in range(6)])
    steps = steps_of(training, batches, RECIPE, accelerator, total_steps=6)
    assert len(steps) == 6 and steps[0].loss is None


def scale_losses(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, scale: float = 2.0**16
) -> torch.amp.GradScaler:
    """Have `accelerator` treat losses as for fp16, in float32: what scaling changes is then rounding of nothing."""
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    monkeypatch.setattr(accelerator, "scaler", scaler)
    monkeypatch.setattr(accelerator, "native_amp", True)
    monkeypatch.setattr(accelerator.state, "_mixed_precision", "fp16")
    monkeypatch.setattr(accelerator, "autocast_handler", None)
    monkeypatch.setattr("accelerate.accelerator.get_mixed_precision_context_manager", lambda *_: torch.enable_grad())
    return scaler
