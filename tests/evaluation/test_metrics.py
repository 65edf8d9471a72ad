"""Scores agree with scikit-learn and with sums done by hand, in whatever order images come."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import Tensor

from nfft.data.loader import Batch
from nfft.data.scan import BrokenImage
from nfft.errors import UserError
from nfft.evaluation.metrics import Predictions, calibration_error, predict_batches, scores_of
from nfft.runs.records import ClassScores, Scores

IMAGES, CLASSES = 60, 7


def predicted(
    logits_of: Callable[[Tensor], Tensor], batches: list[Batch], gather: Callable[[list], list]
) -> Predictions:
    """What one network says."""
    return predict_batches({"one": logits_of}, batches, gather)["one"]


def make_batches(logits: Tensor, labels: Tensor, sizes: list[int], order: Tensor | None = None) -> list[Batch]:
    """Batches whose images are their own logits, so that the network is the identity."""
    order = order if order is not None else torch.arange(len(labels))
    return [
        Batch(logits[part], labels[part], labels[part], torch.ones(len(part)), part, []) for part in order.split(sizes)
    ]


def made_up() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (IMAGES,), generator=draw)
    logits = 2 * torch.randn(IMAGES, CLASSES, generator=draw)
    logits[torch.arange(IMAGES), labels] += 2
    return logits, labels


def found() -> Predictions:
    return predicted(lambda images: images, make_batches(*made_up(), [25, 25, 10]), list)


def test_agrees_with_scikit_learn() -> None:
    logits, labels = made_up()
    probabilities = logits.double().softmax(1).numpy()
    first, true = probabilities.argmax(1), labels.numpy()
    names = [f"class {index}" for index in range(CLASSES)]
    got = scores_of(found(), split="test", classes=names, resolution=64)

    every = np.arange(CLASSES)
    assert (got.split, got.count, got.left_out, got.resolution) == ("test", IMAGES, 0, 64)
    assert got.top1 == pytest.approx(metrics.accuracy_score(true, first))
    assert got.top5 == pytest.approx(metrics.top_k_accuracy_score(true, probabilities, k=5, labels=every))
    assert got.loss == pytest.approx(metrics.log_loss(true, probabilities, labels=every), rel=1e-6)
    assert got.mean_per_class == pytest.approx(metrics.balanced_accuracy_score(true, first))
    matrix = np.zeros((CLASSES, CLASSES), int)
    for each, predicted_as, images in got.confusion:
        assert images > 0 and not matrix[each, predicted_as], "each pair that occurs, once"
        matrix[each, predicted_as] = images
    assert (matrix == metrics.confusion_matrix(true, first, labels=every)).all()
    report = metrics.classification_report(true, first, labels=every, target_names=names, output_dict=True)
    for each in got.per_class:
        wanted = report[each.name]
        assert each.count == wanted["support"]
        for mine, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert getattr(each, mine) == pytest.approx(wanted[theirs])
    assert got.images_per_second > 0


def test_by_hand() -> None:
    logits = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]).log()
    labels = torch.tensor([0, 1, 1, 0])
    predictions = predicted(lambda images: images, make_batches(logits, labels, [4]), list)
    got = scores_of(predictions, split="validation", classes=["a", "b"], resolution=8)
    assert got.top1 == 0.75
    assert got.top5 is None, "five of two classes are no achievement"
    assert got.mean_per_class == 0.75
    assert got.confusion == ((0, 0, 2), (1, 0, 1), (1, 1, 1))
    assert got.loss == pytest.approx(-np.log([0.9, 0.2, 0.7, 0.6]).mean(), rel=1e-6)
    # Each falls into a bin of its own.
    assert got.ece == pytest.approx((0.1 + 0.8 + 0.3 + 0.4) / 4, rel=1e-6)
    assert [each.recall for each in got.per_class] == [1.0, 0.5]


def test_a_class_without_images_does_not_count_in_the_mean() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    predictions = predicted(lambda images: images, make_batches(logits, torch.tensor([0, 1]), [2]), list)
    got = scores_of(predictions, split="test", classes=["a", "b", "never"], resolution=8)
    assert got.mean_per_class == 0.5
    assert got.per_class[2] == ClassScores(name="never", count=0, precision=0.0, recall=0.0, f1=0.0)


@pytest.mark.parametrize(
    ("confidence", "correct", "wanted"),
    [
        # One bin, (4/15, 5/15]: confidence 0.3 on average, half of them right.
        ([0.28, 0.32], [True, False], 0.2),
        # Two bins: |0.95 - 1| for two of three, |0.5 - 0| for the third.
        ([0.95, 0.95, 0.5], [True, True, False], (2 * 0.05 + 0.5) / 3),
        ([1.0, 1.0, 1.0, 1.0], [True] * 4, 0.0),
        ([1.0], [False], 1.0),
        ([0.0], [False], 0.0),
    ],
)
def test_calibration_error(confidence: list[float], correct: list[bool], wanted: float) -> None:
    assert calibration_error(np.array(confidence), np.array(correct)) == pytest.approx(wanted)


def test_calibration_error_bin_by_bin() -> None:
    rng = np.random.default_rng(0)
    confidence, correct = rng.uniform(size=500), rng.uniform(size=500) < 0.6
    wanted = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            wanted += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert calibration_error(confidence, correct) == pytest.approx(wanted)


def test_order_of_batches_does_not_matter() -> None:
    logits, labels = made_up()
    shuffled = make_batches(logits, labels, [7, 31, 22], torch.randperm(IMAGES, generator=torch.manual_seed(1)))
    other = predicted(lambda images: images, shuffled, list)
    one = found()
    for name in ("labels", "top", "confidence", "losses"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name))


def test_shards_are_gathered() -> None:
    logits, labels = made_up()
    order = torch.arange(IMAGES)
    mine, theirs = (make_batches(logits, labels, [16, 14], order[rank::2]) for rank in range(2))
    theirs[0].broken.append(BrokenImage(99, "torn"))
    # Their part is what they would have sent: first the rows, then the broken ones.
    sent: list[list] = []
    predicted(lambda images: images, theirs, lambda part: sent.append(list(part)) or part)
    both = predicted(lambda images: images, mine, lambda part: part + sent.pop(0))
    one = found()
    for name in ("labels", "top", "confidence", "losses"):
        np.testing.assert_array_equal(getattr(both, name), getattr(one, name))
    assert scores_of(both, split="test", classes=list("abcdefg"), resolution=8).left_out == 1


def test_unreadable_images_are_left_out() -> None:
    logits, labels = made_up()
    batches = make_batches(logits, labels, [30, 30])
    empty = Batch(
        torch.empty(0, 3, 1, 1), labels[:0], labels[:0], torch.ones(0), labels[:0], [BrokenImage(60, "empty")]
    )
    predictions = predicted(lambda images: images, [*batches, empty], list)
    assert len(predictions.labels) == IMAGES
    assert predictions.broken == [BrokenImage(60, "empty")]
    with pytest.raises(UserError, match="none of the images"):
        predicted(lambda images: images, [empty], list)


def test_half_precision_logits_are_scored_in_float32() -> None:
    logits, labels = made_up()
    half = predicted(lambda images: images.bfloat16(), make_batches(logits, labels, [IMAGES]), list)
    exact = predicted(lambda images: images.bfloat16().float(), make_batches(logits, labels, [IMAGES]), list)
    np.testing.assert_array_equal(half.losses, exact.losses)


def test_rows_that_a_batch_was_filled_up_with_are_dropped() -> None:
    logits, labels = made_up()
    padded = predicted(
        lambda images: torch.cat([images, images.new_zeros(3, CLASSES)]), make_batches(logits, labels, [IMAGES]), list
    )
    np.testing.assert_array_equal(padded.losses, found().losses)


def test_scores_survive_their_way_through_json() -> None:
    scores = scores_of(found(), split="test", classes=list("abcdefg"), resolution=64)
    assert Scores.from_json(json.loads(json.dumps(scores.to_json()))) == scores
