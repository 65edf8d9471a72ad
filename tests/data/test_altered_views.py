"""TrivialAugment, color jitter and random erasing: what is done to a view before any are mixed."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_recipe import RECIPE
from torchvision.transforms import functional as F

from nfft.config.recipe import Recipe
from nfft.data import trivialaugment
from nfft.data.augment import alter, mix_up, train_view
from nfft.data.color_jitter import jitter
from nfft.data.loader import SAMPLE, stream, train_loader
from nfft.data.random_erasing import erase
from nfft.data.splits import Split
from nfft.data.trivialaugment import distort_once

SEED, IMAGES = 5, 16
ALL = {"trivialaugment": True, "color_jitter": 0.4, "random_erasing": 0.5}
# Larger than what it is moved by, and of values that leave something to be stretched.
PICTURE = np.random.default_rng(1).integers(40, 200, size=(44, 40, 3), dtype=np.uint8)


def outcomes_of_torchvision() -> dict[bytes, str]:
    """What TrivialAugmentWide can make of the picture, with gray where it has black: by its own functions."""
    image, gray = Image.fromarray(PICTURE), [128, 128, 128]
    steps = np.arange(31) / 30
    signed = [*steps, *-steps]

    def sheared(x: float, y: float) -> Image.Image:
        shear = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
        return F.affine(image, 0.0, [0, 0], 1.0, shear, fill=gray, center=[0, 0])

    def moved(x: float, y: float) -> Image.Image:
        return F.affine(image, 0.0, [int(x), int(y)], 1.0, [0.0, 0.0], fill=gray)

    made = {
        "auto_contrast": [F.autocontrast(image)],
        "equalize": [F.equalize(image)],
        "rotate": [F.rotate(image, 135 * step, fill=gray) for step in signed],
        "posterize": [F.posterize(image, bits) for bits in range(2, 9)],
        "solarize": [F.solarize(image, threshold) for threshold in torch.linspace(255, 0, 31).tolist()],
        "color": [F.adjust_saturation(image, 1 + 0.99 * step) for step in signed],
        "contrast": [F.adjust_contrast(image, 1 + 0.99 * step) for step in signed],
        "brightness": [F.adjust_brightness(image, 1 + 0.99 * step) for step in signed],
        "sharpness": [F.adjust_sharpness(image, 1 + 0.99 * step) for step in signed],
        "shear_x": [sheared(0.99 * step, 0) for step in signed],
        "shear_y": [sheared(0, 0.99 * step) for step in signed],
        "translate_x": [moved(32 * step, 0) for step in signed],
        "translate_y": [moved(0, 32 * step) for step in signed],
        # The last, as several make nothing of a picture at some strength.
        "identity": [image],
    }
    return {np.asarray(outcome).tobytes(): name for name, outcomes in made.items() for outcome in outcomes}


def test_trivialaugment_makes_what_torchvision_makes_of_a_picture() -> None:
    known = outcomes_of_torchvision()
    for operation in trivialaugment.OPERATIONS:
        for step in range(-30, 31):
            made = np.asarray(operation(Image.fromarray(PICTURE), step / 30))
            assert known.get(made.tobytes()) in (operation.__name__, "identity"), (operation.__name__, step)


def test_trivialaugment_draws_operation_strength_and_direction_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    draws: list[tuple[int, float]] = []

    def noted(place: int) -> trivialaugment.Operation:
        def operation(image: Image.Image, strength: float) -> Image.Image:
            draws.append((place, strength))
            return image

        return operation

    count = len(trivialaugment.OPERATIONS)
    assert count == 14
    monkeypatch.setattr(trivialaugment, "OPERATIONS", [noted(place) for place in range(count)])
    rng = np.random.default_rng(0)
    for _ in range(6_200):
        distort_once(PICTURE, rng)
    for share, seen in (
        (1 / count, Counter(place for place, _ in draws)),
        (1 / 31, Counter(round(30 * abs(strength)) for _, strength in draws)),
        (1 / 2, Counter(math.copysign(1, strength) for _, strength in draws)),
    ):
        assert len(seen) == round(1 / share)
        spread = math.sqrt(share * (1 - share) / len(draws))
        assert all(abs(times / len(draws) - share) < 4 * spread for times in seen.values())


def blended(plain: np.ndarray, pixels: np.ndarray, factor: float) -> np.ndarray:
    """Pillow's blend, which keeps no more than a byte in between and cuts fractions off."""
    return np.trunc(np.clip(plain + factor * (pixels - plain), 0, 255))


def gray_of(pixels: np.ndarray) -> np.ndarray:
    return np.floor(pixels @ [19595 / 65536, 38470 / 65536, 7471 / 65536] + 0.5)[..., None]


FORMULAS = [
    lambda pixels, factor: blended(np.zeros(1), pixels, factor),
    lambda pixels, factor: blended(np.floor(gray_of(pixels).mean() + 0.5), pixels, factor),
    lambda pixels, factor: blended(gray_of(pixels), pixels, factor),
]


@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_color_jitter_is_its_formula_in_float64(strength: float) -> None:
    orders, factors_seen = set(), []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        factors, order = rng.uniform(1 - strength, 1 + strength, 3), rng.permutation(3)
        expected = PICTURE.astype(float)
        for place in order:
            expected = FORMULAS[place](expected, factors[place])
        np.testing.assert_allclose(jitter(PICTURE, strength, np.random.default_rng(seed)), expected, atol=1.01)
        orders.add(tuple(order))
        factors_seen += [*factors]
    assert len(orders) == 6
    assert 1 - strength <= min(factors_seen) < 1 - 0.9 * strength < 1 + 0.9 * strength < max(factors_seen)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 90)])
def test_an_erased_rectangle_is_noise_of_the_papers_size(height: int, width: int) -> None:
    shares, aspects, values, middles = [], [], [], []
    for seed in range(400):
        view = np.full((height, width, 3), 7, np.uint8)
        erase(view, np.random.default_rng(seed))
        changed = (view != 7).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        box = view[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.9, "all of one rectangle"
        shares.append(box.shape[0] * box.shape[1] / (height * width))
        aspects.append(box.shape[0] / box.shape[1])
        middles.append(((rows[0] + rows[-1]) / 2 / (height - 1), (columns[0] + columns[-1]) / 2 / (width - 1)))
        values.append(box.reshape(-1, 3))
    noise = np.concatenate(values)
    # Rounding to whole px moves both by a little.
    assert 0.015 < min(shares) < 0.04 and 0.3 < max(shares) < 0.345
    assert np.mean(shares) == pytest.approx((0.02 + 1 / 3) / 2, abs=0.02)
    assert 0.25 < min(aspects) < 0.4 and 2.5 < max(aspects) < 3.7
    np.testing.assert_allclose(np.mean(middles, axis=0), 0.5, atol=0.05)
    np.testing.assert_allclose(np.bincount(noise.ravel() >> 5, minlength=8) / noise.size, 1 / 8, atol=0.002)
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.01, "each color by itself"


@pytest.mark.parametrize("side", [1, 2, 3])
def test_what_is_too_small_to_be_erased_in_part_stays(side: int) -> None:
    for seed in range(20):
        view = np.full((side, side, 3), 7, np.uint8)
        erase(view, np.random.default_rng(seed))
        assert (view == 7).any()


def test_views_are_erased_with_the_recipes_probability() -> None:
    recipe = replace(RECIPE, random_erasing=0.25)
    changed = 0
    for seed in range(800):
        view = PICTURE.copy()
        alter(view, recipe, np.random.default_rng(seed))
        changed += not np.array_equal(view, PICTURE)
    assert 0.2 < changed / 800 < 0.3


def make_split() -> Split:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(256, size=(10, 12, 3), dtype=np.uint8) for _ in range(IMAGES)]
    return Split("train", pictures, np.arange(IMAGES), np.arange(IMAGES) % 5, "fingerprint")


def batches_of(recipe: Recipe, *, rank: int = 0, processes: int = 1, workers: int = 0) -> list[torch.Tensor]:
    loader = train_loader(
        make_split(), recipe, SEED, steps=range(4), rank=rank, processes=processes, workers=workers
    )  # fmt: skip
    return [batch.images for batch in loader]


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.2, "cutmix": True, "randaugment": 1.0}])
def test_processes_and_workers_change_nothing(mixing: dict) -> None:
    recipe = replace(RECIPE, **ALL, **mixing)
    alone = torch.cat(batches_of(recipe))
    ranks = [batches_of(recipe, rank=rank, processes=2) for rank in range(2)]
    assert torch.equal(torch.cat([part for step in zip(*ranks, strict=True) for part in step]), alone)
    assert torch.equal(torch.cat(batches_of(recipe, workers=2)), alone)
    assert not torch.equal(alone, torch.cat(batches_of(replace(RECIPE, **mixing))))


@pytest.mark.parametrize("setting", [{name: value} for name, value in ALL.items()], ids=list(ALL))
def test_each_is_done_to_the_view_that_is_there_without_it(setting: dict) -> None:
    split, plain = make_split(), replace(RECIPE)
    for index in range(IMAGES):
        rng = stream(SEED, 0, index, SAMPLE)
        view = train_view(split[index], plain, rng)
        alter(view, replace(plain, **setting), rng)
        altered = train_view(split[index], replace(plain, **setting), stream(SEED, 0, index, SAMPLE))
        np.testing.assert_array_equal(altered, view)


def test_views_are_altered_before_they_are_mixed() -> None:
    recipe = replace(RECIPE, mixup=1.0, crop_area=1, crop_aspect=1, flip=False, random_erasing=1.0)
    split = make_split()
    (batch, *_) = train_loader(split, recipe, SEED, steps=range(1), rank=0, processes=1, workers=0)
    rngs = [stream(SEED, 0, index, SAMPLE) for index in batch.indices.tolist()]
    views = [train_view(split[i], recipe, rng) for i, rng in zip(batch.indices.tolist(), rngs, strict=True)]
    for place, rng in enumerate(rngs):
        mixed, ratio = mix_up(views[place], views[place ^ 1], 1.0, rng)
        assert ratio == batch.ratios[place]
        np.testing.assert_array_equal(batch.images[place].permute(1, 2, 0), mixed)
