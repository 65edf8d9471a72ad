"""A run of optimizer steps equals the same arithmetic written out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from loop import Loop, Recorder, steps_of
from torch import Tensor, nn

from nfft.config.recipe import Recipe
from nfft.data.loader import Batch
from nfft.errors import UserError
from nfft.optim.param_groups import optimizer_groups
from nfft.optim.step import SequentialUpdate
from nfft.training.objective import CrossEntropy
from nfft.training.step import Training, prepare_training

CLASSES, FEATURES, HIDDEN, BATCH = 3, 5, 4, 8
RECIPE = Recipe(
    total_steps=8,
    warmup_fraction=0.25,
    batch_size=BATCH,
    lr=0.5,
    weight_decay=0.03,
    clipping=0.1,
    ema_decay=0.6,
    label_smoothing=0.1,
    train_resolution=8,
    test_resolution=8,
    test_margin=0,
)


class Tiny(nn.Module):
    """Flattened images through tanh to logits; the classifier stands first."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.head = nn.Linear(HIDDEN, CLASSES)
        self.body = nn.Linear(FEATURES, HIDDEN)
        for parameter in self.parameters():
            parameter.data = 0.5 * torch.randn(parameter.shape, generator=draw)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images.flatten(1)).tanh())


def make_batches(count: int, size: int = BATCH) -> list[Batch]:
    rng = np.random.default_rng(0)
    return [
        Batch(
            images=torch.from_numpy(rng.standard_normal((size, FEATURES))),
            labels=torch.from_numpy(rng.integers(CLASSES, size=size)),
            partners=torch.from_numpy(rng.integers(CLASSES, size=size)),
            ratios=torch.from_numpy(rng.uniform(size=size)).float(),
            indices=torch.arange(size),
            broken=[],
        )
        for _ in range(count)
    ]


def cut(batch: Batch, parts: int) -> list[Batch]:
    columns = [getattr(batch, name).chunk(parts) for name in ("images", "labels", "partners", "ratios", "indices")]
    return [Batch(*part, broken=[]) for part in zip(*columns, strict=True)]


def run(accelerator: Accelerator, batches: list[Batch], recipe: Recipe, **arguments: object) -> tuple:
    assert recipe.total_steps is not None
    training = prepare_training(Tiny(), recipe, accelerator)
    defaults = {"to_input": Tensor.float, "stop_requested": lambda: False, "seed": 0}
    reports = steps_of(
        training, iter(batches), recipe, accelerator, total_steps=recipe.total_steps, **{**defaults, **arguments}
    )
    return training, reports


class Reference:
    """The same steps in float64, with the gradients of softmax cross-entropy and tanh written out."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.weights = {name: p.detach().numpy().astype(np.float64) for name, p in Tiny().named_parameters()}
        self.average = dict(self.weights)
        self.velocity = {name: np.zeros_like(w) for name, w in self.weights.items()}

    def gradients(self, batch: Batch) -> tuple[float, float, dict[str, np.ndarray]]:
        w, x = self.weights, batch.images.numpy()
        hidden = np.tanh(x @ w["body.weight"].T + w["body.bias"])
        logits = hidden @ w["head.weight"].T + w["head.bias"]
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        ratios = batch.ratios.numpy().astype(np.float64)[:, None]
        one_hot = np.eye(CLASSES)
        target = one_hot[batch.labels.numpy()] * ratios + one_hot[batch.partners.numpy()] * (1 - ratios)
        smoothing = self.recipe.label_smoothing
        target = target * (1 - smoothing) + smoothing / CLASSES
        to_logits = (np.exp(log_p) - target) / len(x)
        to_body = to_logits @ w["head.weight"] * (1 - hidden**2)
        gradients = {
            "head.weight": to_logits.T @ hidden,
            "head.bias": to_logits.sum(0),
            "body.weight": to_body.T @ x,
            "body.bias": to_body.sum(0),
        }
        top1 = float((logits.argmax(1) == batch.labels.numpy()).mean())
        return float(-(target * log_p).sum(1).mean()), top1, gradients

    def clip(self, gradients: dict[str, np.ndarray]) -> float:
        """In place; a row of a weight and a whole bias are units. The share of units clipped."""
        over = units = 0
        for name in ("head.bias", "body.bias", "body.weight"):
            rows = gradients[name].reshape(-1, FEATURES) if name == "body.weight" else gradients[name][None]
            for row, weight in zip(rows, self.weights[name].reshape(rows.shape), strict=True):
                limit = self.recipe.clipping * max(np.linalg.norm(weight), 1e-3)
                units += 1
                if np.linalg.norm(row) > limit:
                    row *= limit / np.linalg.norm(row)
                    over += 1
        return over / units

    def step(self, t: int, lr: float, batch: Batch) -> tuple[float, float, float]:
        loss, top1, gradients = self.gradients(batch)
        share = self.clip(gradients) if self.recipe.clipping is not None else 0.0
        decay = min(self.recipe.ema_decay or 0, (1 + t) / (10 + t))
        for name, gradient in gradients.items():
            if name.endswith("weight"):
                gradient = gradient + self.recipe.weight_decay * self.weights[name]
            self.velocity[name] = self.recipe.momentum * self.velocity[name] + gradient
            ahead = gradient + self.recipe.momentum * self.velocity[name]
            self.weights[name] = self.weights[name] - lr * ahead
            self.average[name] = decay * self.average[name] + (1 - decay) * self.weights[name]
        return loss, top1, share


@pytest.mark.parametrize("clipping", [0.1, None])
def test_steps_agree_with_float64_reference(accelerator: Accelerator, clipping: float | None) -> None:
    recipe, batches = replace(RECIPE, clipping=clipping), make_batches(8)
    training, reports = run(accelerator, batches, recipe)
    reference = Reference(recipe)
    rises = [0.0, 0.25]
    falls = [0.25 * (1 + np.cos(np.pi * k / 6)) for k in range(6)]
    for t, (lr, batch, report) in enumerate(zip(rises + falls, batches, reports, strict=True)):
        loss, top1, share = reference.step(t, lr, batch)
        assert report.step == t + 1
        assert report.lr == pytest.approx(lr)
        assert report.loss == pytest.approx(loss, rel=1e-5)
        assert report.top1 == pytest.approx(top1)
        assert report.clipped == pytest.approx(share)
    for name, parameter in training.network.named_parameters():
        np.testing.assert_allclose(parameter.detach().numpy(), reference.weights[name], rtol=2e-5, atol=2e-6)
        np.testing.assert_allclose(training.ema.average[name].numpy(), reference.average[name], rtol=2e-5, atol=2e-6)
    if clipping is not None:
        assert 0 < np.mean([report.clipped for report in reports]) < 1, "some units must be clipped, and some not"


def test_accumulation_equals_one_batch(accelerator: Accelerator) -> None:
    batches = make_batches(8)
    whole, reports = run(accelerator, batches, RECIPE)
    micro = [part for batch in batches for part in cut(batch, 4)]
    cut_up, cut_reports = run(accelerator, micro, replace(RECIPE, accumulation_steps=4))
    for name, parameter in whole.network.named_parameters():
        torch.testing.assert_close(cut_up.network.get_parameter(name), parameter, rtol=1e-5, atol=1e-6)
    for one, other in zip(reports, cut_reports, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert (other.top1, other.clipped) == pytest.approx((one.top1, one.clipped))


def test_continues_from_its_step(accelerator: Accelerator) -> None:
    batches = make_batches(8)
    whole, _ = run(accelerator, batches, RECIPE)
    stops = iter([False, False, True])
    training = prepare_training(Tiny(), RECIPE, accelerator)
    source = iter(batches)
    arguments = {"total_steps": 8, "seed": 0, "to_input": Tensor.float}
    first = steps_of(training, source, RECIPE, accelerator, stop_requested=lambda: next(stops), **arguments)
    assert [report.step for report in first] == [1, 2, 3]
    assert training.step == 3
    rest = steps_of(training, source, RECIPE, accelerator, **arguments)
    assert [report.step for report in rest] == [4, 5, 6, 7, 8]
    for name, parameter in whole.network.named_parameters():
        assert torch.equal(training.network.get_parameter(name), parameter)


def test_no_average_when_the_recipe_has_none(accelerator: Accelerator) -> None:
    training, reports = run(accelerator, make_batches(8), replace(RECIPE, ema_decay=None))
    assert training.ema is None
    assert len(reports) == 8


def test_a_loss_that_is_not_finite_stops_the_run(accelerator: Accelerator) -> None:
    batches = make_batches(8)
    batches[4].images[0] = float("nan")
    with pytest.raises(UserError, match=r"loss at step 5 is nan.*--lr \(now 0\.5\).*clipping=0\.025 \(now 0\.1\)"):
        run(accelerator, batches, RECIPE)


def test_mixed_targets() -> None:
    batch = make_batches(1, size=3)[0]
    batch.labels, batch.partners = torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0])
    batch.ratios = torch.tensor([0.75, 0.5, 1.0])
    wanted = torch.tensor([[0.75, 0.25, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    assert torch.equal(CrossEntropy(classes=4).targets(batch, torch.device("cpu")), wanted)


def test_dropout_follows_seed_and_step_alone(accelerator: Accelerator) -> None:
    class Dropping(Tiny):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(torch.nn.functional.dropout(images, 0.5, self.training))

    def losses(seed: int, from_step: int = 0) -> list[float]:
        # A rate of 0 keeps the weights, so that only dropout can tell one step from another.
        recipe = replace(RECIPE, lr=0.0)
        training = prepare_training(Dropping(), recipe, accelerator)
        training.step = from_step
        batches = iter(make_batches(1) * 8)
        torch.rand(from_step + 1)
        reports = steps_of(training, batches, recipe, accelerator, total_steps=8, seed=seed)
        return [report.loss for report in reports]

    whole = losses(0)
    assert len(set(whole)) == 8
    assert losses(0, from_step=3) == whole[3:]
    assert losses(1) != whole


def test_scaled_gradients_are_clipped_after_unscaling(accelerator: Accelerator, monkeypatch) -> None:
    batches = make_batches(6)
    plain, _ = run(accelerator, batches, replace(RECIPE, total_steps=6, clipping=0.02))

    # What accelerate does for fp16 on a GPU, but for the autocast: a power of two scales without rounding.
    monkeypatch.setattr(accelerator, "scaler", torch.amp.GradScaler("cpu", init_scale=2.0**12))
    monkeypatch.setattr(accelerator, "native_amp", True)
    monkeypatch.setattr(accelerator.state, "_mixed_precision", "fp16")
    network = Tiny()
    optimizer = accelerator.prepare_optimizer(
        torch.optim.SGD(optimizer_groups(network, RECIPE.weight_decay), lr=1, momentum=0.9, nesterov=True)
    )
    update, objective = SequentialUpdate(network, optimizer, None), CrossEntropy(CLASSES, RECIPE.label_smoothing)
    scaled = Training(network, network, optimizer, None, update, objective)
    recipe = replace(RECIPE, total_steps=6, clipping=0.02)
    steps = steps_of(scaled, iter(batches), recipe, accelerator, total_steps=6)
    assert all(step.clipped > 0 for step in steps)
    # Without a scaler SGD is fused, and rounds otherwise.
    for mine, other in zip(network.parameters(), plain.network.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "changes",
    [{}, {"ema_decay": None}, {"momentum": 0.0}, {"optimizer": "adamw"}, {"optimizer": "muon"}],
    ids=["all", "no average", "no momentum", "AdamW", "Muon"],
)
def test_taken_up_in_the_middle_it_ends_as_one_that_never_stopped(accelerator: Accelerator, changes: dict) -> None:
    recipe = replace(RECIPE, **changes)
    batches = make_batches(8)
    whole, _ = run(accelerator, batches, recipe)

    answers = iter([False, False, True])
    stopped, reports = run(accelerator, batches, recipe, stop_requested=lambda: next(answers))
    assert stopped.step == len(reports) == 3
    state = {name: tensor.clone() for name, tensor in stopped.state().items()}
    again = prepare_training(Tiny(), recipe, accelerator)
    again.load(state, stopped.step)
    assert {name: tensor.tolist() for name, tensor in again.state().items()} == {
        name: tensor.tolist() for name, tensor in state.items()
    }
    rest = steps_of(again, iter(batches[3:]), recipe, accelerator, total_steps=8)
    assert [each.step for each in rest] == [4, 5, 6, 7, 8]
    ends = again.state()
    for name, tensor in whole.state().items():
        assert torch.equal(ends[name], tensor), name


def test_a_checkpoint_of_an_earlier_release_is_taken_up(accelerator: Accelerator) -> None:
    whole, _ = run(accelerator, make_batches(3), replace(RECIPE, total_steps=3))
    now = whole.state()
    earlier = {name.replace("optimizer.momentum_buffer.", "momentum."): tensor for name, tensor in now.items()}
    assert {name for name in earlier if name.startswith("momentum.")} == {
        f"momentum.{name}" for name, _ in whole.network.named_parameters()
    }
    again = prepare_training(Tiny(), RECIPE, accelerator)
    again.load(earlier, 3)
    assert again.state().keys() == now.keys()
    assert all(torch.equal(tensor, now[name]) for name, tensor in again.state().items())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_parts_of_a_batch_and_scaled_gradients_take_any_optimizers_step(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    recipe = replace(RECIPE, total_steps=4, optimizer=name, lr=0.05, sam_rho=0.0)
    batches = make_batches(4)
    plain, _ = run(accelerator, batches, recipe)
    parts = [part for batch in batches for part in cut(batch, 2)]
    accumulated, _ = run(accelerator, parts, replace(recipe, accumulation_steps=2))
    monkeypatch.setattr(accelerator, "scaler", torch.amp.GradScaler("cpu", init_scale=2.0**12))
    monkeypatch.setattr(accelerator, "native_amp", True)
    monkeypatch.setattr(accelerator.state, "_mixed_precision", "fp16")
    scaled = prepare_training(Tiny(), recipe, accelerator)
    # The autocast of fp16 is for a GPU.
    scaled.model = scaled.network
    steps_of(scaled, iter(batches), recipe, accelerator, total_steps=4)
    for parameter, tensor in plain.network.named_parameters():
        for other in (accumulated, scaled):
            # AdamW divides by what may be next to nothing, and so enlarges rounding.
            torch.testing.assert_close(other.network.get_parameter(parameter), tensor, rtol=0, atol=1e-3)


def test_a_device_that_runs_ahead_tells_the_same_and_saves_nothing_that_diverged(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, evaluations=2)
    _, plain = run(accelerator, make_batches(8), recipe)

    class Ahead(Loop):
        """Takes the processor for a device whose totals are read one step late."""

        def fit(self, *arguments: object) -> bool:
            with monkeypatch.context() as patch:
                patch.setattr(type(accelerator), "device", Late("cpu"))
                return super().fit(*arguments)

    def late(batches: list[Batch], stop_at: int = 99) -> tuple[Ahead, Recorder]:
        recorder, training = Recorder(), prepare_training(Tiny(), recipe, accelerator)
        loop = Ahead(training, iter(batches), recipe, accelerator, total_steps=8)
        try:
            loop.fit(recorder, lambda: training.step + 1 >= stop_at)
        except UserError as error:
            recorder.metrics.append(str(error))
        return loop, recorder

    loop, recorder = late(make_batches(8))
    assert [replace(each, images_per_second=0) for each in recorder.metrics] == [
        replace(each, images_per_second=0) for each in plain
    ]
    assert loop.saves == [4, 8]

    loop, recorder = late(make_batches(8), stop_at=2)
    assert loop.saves == [3], "the vote of a step is read after the next one is on its way"
    assert [each.step for each in recorder.metrics] == [1, 2, 3]

    broken = make_batches(8)
    broken[3].images[0] = float("nan")
    loop, recorder = late(broken)
    assert "loss at step 4 is nan" in recorder.metrics[-1]
    assert loop.saves == []

    # Each step takes longer than a run may go without a checkpoint: none has a step that is missing in metrics.jsonl.
    monkeypatch.setattr("nfft.training.trainer.SAVE_SECONDS", -1)
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(Ahead, "save", lambda loop: told.append((loop.step, loop.tally.steps)))
    loop, recorder = late(make_batches(8))
    assert told == [(step, step) for step in range(1, 9)]
    assert [replace(each, images_per_second=0) for each in recorder.metrics] == [
        replace(each, images_per_second=0) for each in plain
    ]
    told.clear()
    loop, recorder = late(make_batches(8), stop_at=2)
    assert told == [(1, 1), (2, 2), (3, 3)], "it stops after the step after the vote, as processes that save nothing do"
    told.clear()
    loop, recorder = late(broken)
    assert told == [(1, 1), (2, 2), (3, 3)]
    assert "loss at step 4 is nan" in recorder.metrics[-1]


class Late(str):
    """The processor, by the name of another device."""

    type = "other"
