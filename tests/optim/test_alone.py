"""AGC, SAM and the average in someone else's loop do what they do in ours: hooks in a plain loop and in a Trainer."""

import copy
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from nfft.optim.agc import clip_before_each_step, clip_gradients
from nfft.optim.ema import Ema
from nfft.optim.param_groups import clipped, optimizer_groups
from nfft.optim.sam import perturbed

CLIPPING, STEPS, BATCH, CLASSES = 0.02, 5, 10, 3


class Classifier(nn.Module):
    """A network as a Trainer wants it: named inputs in, loss and logits out. It remembers its batches."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = timm.create_model("test_nfnet", num_classes=CLASSES)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def get_classifier(self) -> nn.Module:
        return self.network.get_classifier()

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        self.seen.append((pixel_values, labels))
        logits = self.network(pixel_values)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Noise(Dataset):
    def __len__(self) -> int:
        return STEPS * BATCH

    def __getitem__(self, index: int) -> dict[str, Any]:
        draw = torch.Generator().manual_seed(index)
        return {"pixel_values": torch.randn(3, 32, 32, generator=draw), "labels": index % CLASSES}


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(optimizer_groups(model, 1e-4), lr=0.1, momentum=0.9, nesterov=True)


def hooked(model: nn.Module) -> tuple[torch.optim.Optimizer, Ema]:
    optimizer, average = optimizer_of(model), Ema(model, 0.9)
    clip_before_each_step(optimizer, clipped(model), CLIPPING)
    optimizer.register_step_post_hook(lambda *_: average.update(model))
    return optimizer, average


def by_hand(model: Classifier, batches: list[tuple[Tensor, Tensor]]) -> Ema:
    """The same steps with every piece called where it belongs."""
    optimizer, average = optimizer_of(model), Ema(model, 0.9)
    for images, labels in batches:
        model(images, labels)["loss"].backward()
        assert 0 < clip_gradients(clipped(model), CLIPPING) < 1
        optimizer.step()
        optimizer.zero_grad()
        average.update(model)
    return average


def assert_same(model: nn.Module, average: Ema, other: nn.Module, other_average: Ema) -> None:
    assert average.step == other_average.step == STEPS
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name
        assert torch.equal(average.average[name], other_average.average[name]), name


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    images = Noise()
    for first, last in pairwise(range(0, len(images) + 1, BATCH)):
        rows = [images[index] for index in range(first, last)]
        yield torch.stack([row["pixel_values"] for row in rows]), torch.tensor([row["labels"] for row in rows])


def trainer_of(kind: type, model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> Any:
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        str(folder), max_steps=STEPS, per_device_train_batch_size=BATCH, max_grad_norm=0, use_cpu=True, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return kind(model, arguments, train_dataset=Noise(), optimizers=(optimizer, constant))


def test_hooks_in_a_plain_loop() -> None:
    model = Classifier()
    reference = copy.deepcopy(model)
    optimizer, average = hooked(model)
    for images, labels in batches():
        model(images, labels)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_same(model, average, reference, by_hand(reference, list(batches())))


def test_hooks_in_transformers_trainer(tmp_path: Path) -> None:
    from transformers import Trainer

    model = Classifier()
    reference = copy.deepcopy(model)
    optimizer, average = hooked(model)
    trainer_of(Trainer, model, optimizer, tmp_path).train()
    assert_same(model, average, reference, by_hand(reference, model.seen))


def test_sam_in_transformers_trainer(tmp_path: Path) -> None:
    from transformers import Trainer

    class SamTrainer(Trainer):
        def training_step(self, model: nn.Module, inputs: dict[str, Any], *rest: Any) -> Tensor:
            part = {name: tensor[: BATCH // 5] for name, tensor in inputs.items()}
            with perturbed(model.parameters(), self.compute_loss(model, part), rho=0.3):
                return super().training_step(model, inputs, *rest)

    model = Classifier()
    reference = copy.deepcopy(model)
    optimizer, average = hooked(model)
    trainer_of(SamTrainer, model, optimizer, tmp_path).train()

    optimizer, other = hooked(reference)
    for (some, few), (images, labels) in zip(model.seen[::2], model.seen[1::2], strict=True):
        assert torch.equal(some, images[: BATCH // 5]) and torch.equal(few, labels[: BATCH // 5])
        with perturbed(reference.parameters(), reference(some, few)["loss"], rho=0.3):
            reference(images, labels)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_same(model, average, reference, other)


def test_the_hook_can_be_taken_off_and_refuses_what_cannot_be() -> None:
    model = Classifier()
    optimizer = optimizer_of(model)
    with pytest.raises(ValueError, match="above 0"):
        clip_before_each_step(optimizer, clipped(model), 0)
    handle = clip_before_each_step(optimizer, clipped(model), 1e-9)
    handle.remove()
    images, labels = next(batches())
    model(images, labels)["loss"].backward()
    before = [parameter.grad.clone() for parameter in clipped(model) if parameter.grad is not None]
    optimizer.step()
    after = [parameter.grad for parameter in clipped(model) if parameter.grad is not None]
    assert all(map(torch.equal, before, after))
