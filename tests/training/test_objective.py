"""What is minimized equals the same arithmetic written out by hand, gradients included."""

from dataclasses import replace

import numpy as np
import pytest
import small_recipe
import torch

from nfft.data.loader import Batch, Collate, Key, TrainImages, train_loader
from nfft.data.splits import NO_LABEL, Data, Split
from nfft.training.objective import CrossEntropy, SoftCrossEntropy
from nfft.training.teacher import Lesson, learned_from

CLASSES, LABELED, UNLABELED = 4, 6, 5
RECIPE = replace(small_recipe.RECIPE, label_smoothing=0.1, distill_weight=0.3, distill_temperature=2.0)


def split(name: str, labels: np.ndarray) -> Split:
    images = [np.full((8, 8, 3), 10 * row, np.uint8) for row in range(len(labels))]
    return Split(name, images, np.arange(len(labels)), labels, None)


def data_of() -> Data:
    labels = np.arange(LABELED) % CLASSES
    unlabelled = split("unlabelled", np.full(UNLABELED, NO_LABEL))
    return Data(list("abcd"), split("train", labels), split("validation", labels), None, unlabelled=unlabelled)


def lesson() -> Lesson:
    logits = np.random.default_rng(1).normal(size=(LABELED + UNLABELED, CLASSES)).astype(np.float32)
    return Lesson(torch.from_numpy(logits), "key", is_kept=False)


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def expected_table() -> np.ndarray:
    """Of images with a label, mixed with what the teacher says; of others, what it says."""
    answers = softmax(lesson().logits.numpy() / 2)
    labels = np.eye(CLASSES)[np.arange(LABELED) % CLASSES] * 0.9 + 0.1 / CLASSES
    return np.concatenate([0.7 * labels + 0.3 * answers[:LABELED], answers[LABELED:]])


def test_targets_are_labels_and_what_the_teacher_says() -> None:
    data, objective = learned_from(lesson(), data_of(), RECIPE)
    assert isinstance(objective, SoftCrossEntropy)
    np.testing.assert_allclose(objective.table.numpy(), expected_table(), atol=1e-6)
    assert data.learned.labels.tolist() == [
        *(np.arange(LABELED) % CLASSES),
        *lesson().logits[LABELED:].argmax(1).tolist(),
    ]


def test_a_teacher_without_weight_leaves_the_loss_of_labels() -> None:
    data, objective = learned_from(lesson(), replace(data_of(), unlabelled=None), replace(RECIPE, distill_weight=0.0))
    logits, index = torch.randn(LABELED, CLASSES), torch.arange(LABELED)
    labels = torch.from_numpy(data.train.labels)
    batch = Batch(torch.empty(0), labels, labels, torch.ones(LABELED), index, [], index)
    usual = CrossEntropy(CLASSES, RECIPE.label_smoothing)
    losses = [each.loss(logits, each.targets(batch, torch.device("cpu"))) for each in (objective, usual)]
    torch.testing.assert_close(*losses)


def test_loss_and_gradient_of_mixed_targets() -> None:
    _, objective = learned_from(lesson(), data_of(), RECIPE)
    draw = np.random.default_rng(2)
    own, partners, ratios = np.array([0, 7, 3, 10]), np.array([7, 0, 10, 3]), draw.uniform(size=4)
    label = torch.zeros(4, dtype=torch.int64)
    mixed = torch.from_numpy(ratios).float()
    batch = Batch(torch.empty(4, 0), label, label, mixed, torch.from_numpy(own), [], torch.from_numpy(partners))
    logits = torch.from_numpy(draw.normal(size=(4, CLASSES))).requires_grad_()
    targets = objective.targets(batch, torch.device("cpu")).double()
    loss = objective.loss(logits, targets)
    loss.backward()

    table, share = expected_table(), ratios[:, None]
    wanted = table[own] * share + table[partners] * (1 - share)
    answers = softmax(logits.detach().numpy())
    assert loss.item() == pytest.approx(-(wanted * np.log(answers)).sum(1).mean(), abs=1e-6)
    np.testing.assert_allclose(logits.grad.numpy(), (answers - wanted) / 4, atol=1e-6)


def test_images_that_the_teacher_is_unsure_of_are_left_out_and_counted() -> None:
    sure = softmax(lesson().logits.numpy()).max(1)[LABELED:]
    recipe = replace(RECIPE, distill_confidence=float(np.sort(sure)[2]) - 1e-6)
    data, objective = learned_from(lesson(), data_of(), recipe)
    assert len(data.learned) == len(objective.table) == LABELED + 3
    assert data.unlabelled.rows.tolist() == np.flatnonzero(sure >= np.sort(sure)[2]).tolist()
    assert "2 files (unlabelled: the teacher is less than" in data.account.lines[0]
    torn = lesson()
    torn.logits[[0, LABELED + 1]] = torch.nan  # the files went away
    data, objective = learned_from(torn, data_of(), RECIPE)
    assert data.unlabelled.rows.tolist() == [0, 2, 3, 4] and objective.table.isfinite().all()
    assert objective.table[0].tolist() == pytest.approx([0.925, 0.025, 0.025, 0.025])
    assert data.account.lines == ["not used: 1 file (unlabelled: cannot be read)"]
    data, objective = learned_from(lesson(), data_of(), replace(RECIPE, distill_confidence=0.99999))
    assert data.unlabelled is None and len(data.learned) == len(objective.table) == LABELED


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4, "cutmix": True}])
def test_batches_say_whose_targets_are_theirs(mixing: dict) -> None:
    data, _ = learned_from(lesson(), data_of(), RECIPE)
    recipe = replace(RECIPE, **mixing)
    seen = []
    for batch in train_loader(data.learned, recipe, 0, steps=range(11), rank=0, processes=1, workers=0):
        labels = torch.from_numpy(data.learned.labels)
        assert torch.equal(batch.labels, labels[batch.indices])
        assert torch.equal(batch.partners, labels[batch.partner_indices])
        seen += batch.indices.tolist()
    assert np.bincount(seen).tolist() == [8] * 11  # as often as any other, whether it has a label or not


def test_the_target_is_that_of_the_image_that_stands_in() -> None:
    data = data_of()
    data.learned.images.second[0] = b"broken meanwhile"
    images = TrainImages(data.learned, RECIPE, 0)
    batch = Collate(RECIPE)([images[Key(0, LABELED, place, 8)] for place in range(2)])
    assert batch.indices.tolist() == [LABELED + 1] * 2
