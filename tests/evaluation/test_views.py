"""Several views of a picture: each is the one that torchvision cuts out, and their probabilities are averaged."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, FiveCrop, InterpolationMode, Resize, TenCrop
from torchvision.transforms.functional import hflip

import nfft
from nfft.data.splits import Split
from nfft.errors import UserError
from nfft.evaluation.predictor import Predictor
from nfft.evaluation.views import AveragedViews
from nfft.models.transforms import pixels_of

SIDE = 48
PICTURES = [np.random.default_rng(seed).integers(0, 256, (70, 52 + seed, 3), np.uint8) for seed in range(5)]
SEVERAL = ["flip", "crops", "crops-flip"]
Cut = Callable[[Image.Image], list[Image.Image]]


def with_mirror(image: Image.Image) -> list[Image.Image]:
    return [image, hflip(image)]


# nfnet-nano is shown all of a picture at 48 px; crops are of 60, which leaves a quarter of 48.
WAYS: dict[str, tuple[int, Cut]] = {
    "single": (48, lambda image: [CenterCrop(SIDE)(image)]),
    "flip": (48, lambda image: with_mirror(CenterCrop(SIDE)(image))),
    "crops": (60, FiveCrop(SIDE)),
    "crops-flip": (60, TenCrop(SIDE)),
}


@pytest.fixture(scope="module")
def nano() -> nfft.AutoNFNet:
    return nfft.AutoNFNet.from_pretrained("nfnet-nano")


def logits_of(nano: nfft.AutoNFNet, pixels: np.ndarray, views: str) -> Tensor:
    """Of each view of a picture, (views, classes): the network as it is, in float64."""
    resized, cut = WAYS[views]
    image = Resize((resized, resized), InterpolationMode.BICUBIC)(Image.fromarray(pixels))
    mean, std = (torch.tensor(nano.preprocessing[name]).view(3, 1, 1).double() for name in ("mean", "std"))
    shown = [torch.from_numpy(np.array(view)).permute(2, 0, 1).double() / 255 for view in cut(image)]
    with torch.no_grad():
        return nano.double()(torch.stack([(view - mean) / std for view in shown]))


@pytest.fixture(scope="module")
def wanted() -> dict[str, list[Tensor]]:
    """Logits of each picture's views, by the views' name."""
    exact = nfft.AutoNFNet.from_pretrained("nfnet-nano")
    return {views: [logits_of(exact, pixels, views) for pixels in PICTURES] for views in WAYS}


@pytest.mark.parametrize(("views", "count"), [("single", 1), ("flip", 2), ("crops", 5), ("crops-flip", 10)])
def test_probabilities_are_the_mean_of_those_of_the_views(
    nano: nfft.AutoNFNet, wanted: dict[str, list[Tensor]], views: str, count: int
) -> None:
    answers = nano.predict(PICTURES, top_k=200, views=views)
    for logits, answer in zip(wanted[views], answers, strict=True):
        assert len(logits) == count
        mean = logits.softmax(1).mean(0)
        found = torch.tensor([{each["label"]: each["score"] for each in answer}[label] for label in nano.labels])
        torch.testing.assert_close(found, mean.float(), atol=2e-6, rtol=1e-4)
        if count > 1:
            of_logits = logits.mean(0).softmax(0)
            assert (mean - of_logits).abs().max() > 100 * (found - mean).abs().max(), "of probabilities, not logits"


@pytest.mark.parametrize("views", SEVERAL)
def test_scores_are_of_the_mean_by_each_network(
    nano: nfft.AutoNFNet, wanted: dict[str, list[Tensor]], views: str
) -> None:
    averages, stored = AveragedViews(views, SIDE), nano.preprocessing
    split = Split("test", PICTURES, np.arange(5), np.array([3, 1, 4, 1, 5]), "fingerprint")
    predictor = Predictor(
        None, pixels_of(averages.preprocessing(stored)), stored["mean"], stored["std"], workers=0, batch_size=2,
        averages=averages,
    )  # fmt: skip
    means = torch.stack([logits.softmax(1).mean(0) for logits in wanted[views]]).float()
    networks = {"one": nano.folded(), "other": lambda images: -nano.folded()(images)}
    predictions = predictor.predict(networks, split)
    np.testing.assert_array_equal(predictions["one"].top, means.topk(5).indices)
    np.testing.assert_allclose(predictions["one"].confidence, means.max(1).values, rtol=1e-4)
    np.testing.assert_allclose(predictions["one"].losses, -means[range(5), split.labels].log(), rtol=1e-4)
    assert not np.array_equal(predictions["other"].top, predictions["one"].top)


def test_a_picture_that_keeps_its_shape_is_cropped_in_its_middle_square() -> None:
    stored = {
        "input_size": (3, 32, 32), "interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3,
        "crop_pct": 0.875, "crop_mode": "center",
    }  # fmt: skip
    averages = AveragedViews("crops", 32)
    image = Image.fromarray(PICTURES[4])
    pixels = torch.from_numpy(pixels_of(averages.preprocessing(stored))(image)).permute(2, 0, 1)[None].float()
    seen: list[Tensor] = []
    averages.average(lambda view: seen.append(view) or torch.zeros(1, 2))(pixels)
    crops = FiveCrop(32)(CenterCrop(40)(Resize(40, InterpolationMode.BICUBIC)(image)))
    for view, crop in zip(seen, crops, strict=True):
        np.testing.assert_array_equal(view[0].permute(1, 2, 0), np.array(crop))


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 1.0])
def test_crops_have_the_margin_of_a_single_view_or_a_larger_one(share: float) -> None:
    stored = {"input_size": (3, 64, 64), "crop_pct": share, "crop_mode": "squash"}
    larger = AveragedViews("crops", 64).preprocessing(stored)
    assert larger["input_size"] == (3, *[max(80, round(64 / share))] * 2) and larger["crop_pct"] == 1
    assert AveragedViews("flip", 64).preprocessing(stored) == stored


def test_logarithms_of_improbable_classes_stay_finite() -> None:
    logits = torch.tensor([[0.0, -1e4, 80.0]])
    answer = AveragedViews("flip", 2).average(lambda images: logits * images.mean())(torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(answer, logits.log_softmax(1))


@pytest.mark.parametrize(
    "call",
    [
        partial(nfft.predict, PICTURES[0], "no/such-model"),
        partial(nfft.evaluate, "no/such-model", "digits"),
        lambda views: nfft.AutoNFNet.from_pretrained("nfnet-nano").predict(PICTURES[0], views=views),
    ],
    ids=["predict", "evaluate", "AutoNFNet"],
)
def test_views_that_there_are_not(call: Callable) -> None:
    for wrong, said in (("flips", r"unknown views 'flips'; did you mean 'flip'"), (10, r"unknown views 10; known: cr")):
        with pytest.raises(UserError, match=said):
            call(views=wrong)
