"""The one set-up that scores images: as a plain loop would, each image decoded once, broken ones noted."""

import io
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn

from nfft.data.decode import decode, evaluation_view
from nfft.data.loader import AugmentedImages, EvaluationImages
from nfft.data.splits import Split
from nfft.distributed.accelerator import make_accelerator
from nfft.evaluation import predictor as module
from nfft.evaluation.predictor import Inference, Predictor
from nfft.models.build import normalize_images
from nfft.models.folding import fold

SIDE, IMAGES, CLASSES = 32, 11, 7
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
VIEW = partial(evaluation_view, resolution=SIDE, margin=2)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def make_split(images: int = IMAGES, name: str = "test") -> Split:
    rng = np.random.default_rng(images)
    raw = [png(rng.integers(0, 256, (40, 36, 3), np.uint8)) for _ in range(images)]
    return Split(name, raw, np.arange(images), np.arange(images) % CLASSES, "fingerprint")


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    import timm

    torch.manual_seed(0)
    return {name: timm.create_model("test_nfnet", num_classes=CLASSES).eval() for name in ("raw", "ema")}


def make_predictor(
    accelerator: Accelerator | None = None, *, workers: int = 0, batch_size: int = 4, keeps_views: bool = False
) -> Predictor:
    return Predictor(
        accelerator, VIEW, MEAN, STD, workers=workers, batch_size=batch_size, keeps_views=keeps_views
    )  # fmt: skip


def logits_of(network: nn.Module, split: Split, size: int) -> Tensor:
    """By a plain loop."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    views = torch.stack([torch.from_numpy(VIEW(decode(split[index]))) for index in range(len(split))])
    images = normalize_images(views.permute(0, 3, 1, 2), mean, std)
    folded = fold(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.no_grad():
        return torch.cat([folded(part) for part in images.split(size)])


@pytest.mark.parametrize("workers", [0, 2])
def test_predictions_are_those_of_a_plain_loop_to_the_bit(
    workers: int, networks: dict[str, nn.Module], accelerator: Accelerator
) -> None:
    split, predictor = make_split(), make_predictor(accelerator, workers=workers)
    predictions = predictor.predict({name: predictor.folded(each) for name, each in networks.items()}, split)
    assert predictions.keys() == networks.keys()
    for name, network in networks.items():
        probabilities = logits_of(network, split, 4).log_softmax(1)
        best = probabilities.topk(5, dim=1)
        np.testing.assert_array_equal(predictions[name].top, best.indices)
        np.testing.assert_array_equal(predictions[name].confidence, best.values[:, 0].exp())
        np.testing.assert_array_equal(predictions[name].labels, split.labels)
        np.testing.assert_array_equal(
            predictions[name].losses, -probabilities[torch.arange(IMAGES), torch.from_numpy(split.labels)]
        )


def test_other_weights_are_folded_in_place_of_the_networks_own(networks: dict[str, nn.Module]) -> None:
    predictor, image = make_predictor(), torch.zeros(1, 3, SIDE, SIDE)
    by_tensors = predictor.folded(networks["raw"], networks["ema"].state_dict())
    assert torch.equal(by_tensors(image), predictor.folded(networks["ema"])(image))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Indices of the images that are decoded from now on."""
    decoded: list[int] = []
    view_of = EvaluationImages.view_of

    def noted(self: EvaluationImages, index: int) -> np.ndarray:
        decoded.append(index)
        return view_of(self, index)

    monkeypatch.setattr(EvaluationImages, "view_of", noted)
    return decoded


def same(one: Any, other: Any) -> bool:
    columns = ("labels", "top", "confidence", "losses")
    return one.broken == other.broken and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in columns
    )


def test_views_that_are_kept_are_decoded_once_and_change_nothing(
    networks: dict[str, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = counted(monkeypatch)
    split, other, predictor = make_split(), make_split(5, "validation"), make_predictor(keeps_views=True)
    split.images[3] = b"torn"
    answers = {name: predictor.folded(each) for name, each in networks.items()}
    first = predictor.predict(answers, split)
    assert sorted(decoded) == [*range(IMAGES)], "once for both networks"
    predictor.predict(answers, other)
    split.images[5] = b"torn meanwhile"
    second = predictor.predict(answers, split)
    assert len(decoded) == IMAGES + 5
    assert [broken.index for broken in first["raw"].broken] == [3]
    assert all(same(first[name], second[name]) for name in answers)


def test_splits_that_come_and_go_are_not_taken_for_one_another(networks: dict[str, nn.Module]) -> None:
    predictor = make_predictor(keeps_views=True)
    answers = {"": predictor.folded(networks["raw"])}
    for images in (5, 6, 5, 7):
        assert len(predictor.predict(answers, make_split(images))[""].labels) == images


def test_views_are_read_again_where_there_is_no_room_for_them(
    networks: dict[str, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = 3 * SIDE * SIDE
    monkeypatch.setattr(module, "memory_of", lambda device: 8 * (IMAGES * image + image))
    decoded = counted(monkeypatch)
    fits, second = make_split(), make_split(3, "validation")
    predictor = make_predictor(keeps_views=True)
    answers = {"raw": predictor.folded(networks["raw"])}
    found = [predictor.predict(answers, split)["raw"] for split in (fits, second, fits, second)]
    assert len(decoded) == IMAGES + 3 + 3, "the first fits, both do not"
    assert same(found[0], found[2]) and same(found[1], found[3])


@pytest.mark.parametrize("fits", [True, False])
def test_workers_stay_for_views_that_do_not_fit_and_end_with_those_that_do(
    fits: bool, networks: dict[str, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fits:
        monkeypatch.setattr(module, "KEPT_SHARE", 0)
    split, predictor = make_split(), make_predictor(workers=2, keeps_views=True)
    answers = {"raw": predictor.folded(networks["raw"])}
    alone = make_predictor().predict(answers, split)["raw"]
    assert same(predictor.predict(answers, split)["raw"], alone)
    (views,) = predictor.views.values()
    assert all(not tensor.is_shared() for batch in views.kept for tensor in (batch.images, batch.indices))
    workers = views.loader._iterator._workers if views.loader is not None else []
    assert len(workers) == (0 if fits else 2)
    assert same(predictor.predict(answers, split)["raw"], alone)
    if not fits:
        assert views.loader is not None and views.loader._iterator._workers is workers
        assert all(worker.is_alive() for worker in workers)


def flat(images: Tensor) -> Tensor:
    return images.flatten(1).half()


def test_outputs_come_batch_by_batch_from_any_image_on() -> None:
    split, predictor = make_split(), make_predictor()
    split.images[6] = b"torn"
    outputs = list(predictor.outputs(flat, EvaluationImages(split, VIEW), first=2))
    assert [each.done for each in outputs] == [6, 10, 11]
    assert [each.indices.tolist() for each in outputs] == [[2, 3, 4, 5], [7, 8, 9], [10]]
    assert [broken.index for each in outputs for broken in each.broken] == [6]
    inputs = [predictor.inputs(batch) for batch in predictor.batches(split)]
    wanted = np.delete(flat(torch.cat(inputs)).numpy(), [0, 1], axis=0)
    np.testing.assert_array_equal(np.concatenate([each.rows for each in outputs]), wanted)
    assert not list(predictor.outputs(flat, EvaluationImages(split, VIEW), first=IMAGES))


def test_outputs_of_images_none_of_which_can_be_read() -> None:
    split = make_split(2)
    split.images[:] = [b"", b""]
    (outputs,) = make_predictor().outputs(flat, EvaluationImages(split, VIEW))
    assert (len(outputs.indices), len(outputs.rows), len(outputs.broken), outputs.done) == (0, 0, 2, 2)


class Elsewhere:
    """A device that is no CPU, as far as batches are concerned."""

    type = "elsewhere"


@pytest.mark.parametrize(("images", "sizes"), [(11, [4, 4, 4]), (9, [3, 3, 3]), (8, [4, 4]), (2, [2])])
def test_where_shapes_cost_there_is_one(images: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    split, predictor = make_split(images), make_predictor()
    split.images[1] = b"torn"
    wanted = make_predictor().predict({"": flat}, split)[""]
    seen: list[int] = []

    def noted(pixels: Tensor) -> Tensor:
        seen.append(len(pixels))
        return flat(pixels)

    inference = predictor.inference
    monkeypatch.setattr(inference, "normalized", make_predictor().inference.normalized)
    monkeypatch.setattr(inference, "device", Elsewhere())
    assert same(predictor.predict({"": noted}, split)[""], wanted)
    assert seen == sizes
    rows = [each.rows for each in predictor.outputs(flat, EvaluationImages(split, VIEW))]
    assert len(np.concatenate(rows)) == images - 1


def test_in_half_precision(networks: dict[str, nn.Module]) -> None:
    split, exact = make_split(), make_predictor()
    half = make_predictor(make_accelerator("bf16"))
    network = half.folded(networks["raw"])
    assert {weight.dtype for name, weight in network.named_parameters() if "conv" in name} == {torch.bfloat16}
    wanted = exact.predict({"": exact.folded(networks["raw"])}, split)[""]
    np.testing.assert_allclose(half.predict({"": network}, split)[""].losses, wanted.losses, atol=0.05)


def test_networks_with_weights_in_half_precision_get_images_in_it(networks: dict[str, nn.Module]) -> None:
    inference = Inference(torch.device("cpu"), MEAN, STD, dtype=torch.bfloat16)
    images = torch.full((1, 3, SIDE, SIDE), 200, dtype=torch.uint8)
    found = inference.answers(lambda pixels: pixels, inference.normalized(images))
    assert found.dtype == torch.bfloat16 and not found.requires_grad


def test_training_views_give_features_too(networks: dict[str, nn.Module]) -> None:
    from nfft.config.recipe import Recipe

    recipe = Recipe(
        total_steps=1, batch_size=4, lr=0.1, weight_decay=0, clipping=None, ema_decay=None, warmup_fraction=0,
        train_resolution=SIDE, test_resolution=SIDE, test_margin=2,
    )  # fmt: skip
    views = AugmentedImages(make_split(), recipe, seed=0, epoch=0)
    rows = [each.rows for each in make_predictor().outputs(flat, views)]
    assert np.concatenate(rows).shape == (IMAGES, 3 * SIDE * SIDE)
