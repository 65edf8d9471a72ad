"""The samples of a run are the same however it is cut into workers, processes, steps and sittings."""

import io
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from small_recipe import RECIPE
from torch import Tensor

from nfft.config.recipe import Recipe
from nfft.data import loader
from nfft.data.augment import cut_mix, train_view
from nfft.data.decode import decode, evaluation_view
from nfft.data.decode_cache import Decoded, fill_cache
from nfft.data.loader import SAMPLE, Batch, EvaluationImages, Key, MicroBatches, evaluation_loader, stream, train_loader
from nfft.data.randaugment import distort
from nfft.data.splits import Split
from nfft.errors import UserError

SEED = 5
VIEW = partial(evaluation_view, resolution=8, margin=2)


def make_split(images: int = 20, *, encoded: bool = True) -> Split:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(256, size=(10, 12, 3), dtype=np.uint8) for _ in range(images)]
    return Split("train", [png(array) for array in arrays] if encoded else arrays, *columns(images), "fingerprint")


def columns(images: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(images), np.arange(images) * 7 % 5


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def keys_of(images: int, recipe: Recipe, steps: range, *, rank: int = 0, processes: int = 1) -> list[list[Key]]:
    sampler = MicroBatches(images, recipe, SEED, steps=steps, rank=rank, processes=processes)
    keys = list(sampler)
    assert len(keys) == len(sampler)
    return keys


def batches_of(
    split: Split,
    recipe: Recipe,
    steps: range,
    *,
    rank: int = 0,
    processes: int = 1,
    workers: int = 0,
    decoded: Decoded | None = None,
    seed: int = SEED,
) -> list[Batch]:
    return list(
        train_loader(split, recipe, seed, steps=steps, rank=rank, processes=processes, workers=workers, decoded=decoded)
    )


def joined(batches: list[Batch], name: str) -> Tensor:
    return torch.cat([getattr(batch, name) for batch in batches])


def assert_same(one: list[Batch], other: list[Batch]) -> None:
    for name in ("images", "labels", "partners", "ratios", "indices"):
        assert torch.equal(joined(one, name), joined(other, name)), name


@pytest.mark.parametrize("images", [8, 20, 24, 37])
def test_epochs_are_permutations_laid_end_to_end(images: int) -> None:
    steps = images * 3 // RECIPE.batch_size
    keys = [key for batch in keys_of(images, RECIPE, range(steps)) for key in batch]
    for epoch in range(len(keys) // images):
        part = keys[epoch * images : (epoch + 1) * images]
        assert sorted(key.index for key in part) == list(range(images))
        assert {key.epoch for key in part} == {epoch}
    seen = Counter(key.index for key in keys)
    assert max(seen.values()) - min(seen.values()) <= 1
    assert [key.index for key in keys[:images]] != [key.index for key in keys[images : 2 * images]]


@pytest.mark.parametrize(("accumulation", "processes"), [(1, 2), (4, 1), (2, 2), (1, 4)])
def test_parts_make_up_the_global_batch_in_order(accumulation: int, processes: int) -> None:
    whole = keys_of(20, RECIPE, range(6))
    recipe = replace(RECIPE, accumulation_steps=accumulation)
    ranks = [keys_of(20, recipe, range(6), rank=rank, processes=processes) for rank in range(processes)]
    for step, batch in enumerate(whole):
        parts = [
            key
            for part in range(accumulation)
            for rank in range(processes)
            for key in ranks[rank][step * accumulation + part]
        ]
        assert parts == batch
        assert [key.place for key in parts] == list(range(RECIPE.batch_size))


def test_resumed_sampler_yields_the_rest() -> None:
    recipe = replace(RECIPE, accumulation_steps=2)
    assert keys_of(20, recipe, range(3, 9)) == keys_of(20, recipe, range(9))[6:]


def test_images_grow_with_the_steps_of_the_whole_run() -> None:
    split, recipe = make_split(), replace(RECIPE, train_resolution=64, first_resolution=32, total_steps=8)
    batches = batches_of(split, recipe, range(8))
    assert [batch.images.shape[-1] for batch in batches] == [32, 32, 32, 48, 48, 48, 64, 64]
    resumed = batches_of(split, recipe, range(5, 8), workers=2)
    assert all(torch.equal(one.images, other.images) for one, other in zip(batches[5:], resumed, strict=True))
    # The same pictures in the same order, and their full size as it is without growth.
    plain = batches_of(split, replace(recipe, first_resolution=None), range(8))
    assert torch.equal(joined(batches, "indices"), joined(plain, "indices"))
    assert torch.equal(batches[-1].images, plain[-1].images)


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.2, "cutmix": True, "randaugment": 1.0}])
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept decoded", "decoded each time"])
def test_workers_change_nothing(mixing: dict, is_kept: bool) -> None:
    split, recipe = make_split(), replace(RECIPE, **mixing)
    decoded = None
    if is_kept:
        fill_cache(split, 1)
        decoded = Decoded(split)
    alone = batches_of(split, recipe, range(6))
    assert_same(alone, batches_of(split, recipe, range(6), workers=2, decoded=decoded))
    assert_same(alone[4:], batches_of(split, recipe, range(4, 6), decoded=decoded))


@pytest.mark.parametrize(
    "mixing",
    [
        {},
        {"mixup": 0.2},
        {"cutmix": True},
        {"mixup": 0.2, "cutmix": True},
        {"randaugment": 1.0},
        {"mixup": 0.2, "cutmix": True, "randaugment": 1.0},
    ],
)
def test_processes_change_nothing(mixing: dict) -> None:
    split, recipe = make_split(), replace(RECIPE, **mixing)
    ranks = [batches_of(split, recipe, range(6), rank=rank, processes=2) for rank in range(2)]
    interleaved = [batch for step in zip(*ranks, strict=True) for batch in step]
    assert_same(batches_of(split, recipe, range(6)), interleaved)


def test_a_sample_differs_between_epochs_and_seeds() -> None:
    split = make_split(8)
    first, second = batches_of(split, RECIPE, range(2))
    other = batches_of(split, RECIPE, range(1), seed=SEED + 1)[0]
    for index in range(8):
        views = [batch.images[batch.indices == index] for batch in (first, second, other)]
        assert len({view.numpy().tobytes() for view in views}) == 3


def test_without_mixing_a_batch_holds_the_training_views() -> None:
    split = make_split()
    recipe = replace(RECIPE, flip=False, crop_area=1, crop_aspect=1)
    batch = batches_of(split, recipe, range(1))[0]
    assert batch.images.shape == (8, 3, 8, 8)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.labels, torch.from_numpy(split.labels)[batch.indices])
    assert torch.equal(batch.partners, batch.labels)
    assert torch.equal(batch.ratios, torch.ones(8))
    for image, index in zip(batch.images, batch.indices.tolist(), strict=True):
        view = train_view(decode(split[index]), recipe, np.random.default_rng(0))
        assert torch.equal(image, torch.from_numpy(view.copy()).permute(2, 0, 1))


@pytest.mark.parametrize("mixing", [{"mixup": 1.0}, {"cutmix": True}, {"mixup": 1.0, "cutmix": True}])
def test_neighbors_are_mixed_and_labeled_so(mixing: dict) -> None:
    split = make_split()
    # Views without chance, so that a batch without mixing shows what was mixed.
    still = replace(RECIPE, flip=False, crop_area=1, crop_aspect=1)
    plain, mixed = (batches_of(split, recipe, range(6)) for recipe in (still, replace(still, **mixing)))
    for before, after in zip(plain, mixed, strict=True):
        partner = torch.arange(8) ^ 1
        assert torch.equal(after.indices, before.indices)
        assert torch.equal(after.labels, before.labels)
        assert torch.equal(after.partners, before.labels[partner])
        assert len(set(after.ratios.tolist())) >= 4, "each image draws a ratio of its own"
        for place in range(8):
            own, other, mixed = (view.permute(1, 2, 0).numpy() for view in (
                before.images[place], before.images[partner[place]], after.images[place]))  # fmt: skip
            ratio = after.ratios[place].item()
            is_cut = "mixup" not in mixing or ("cutmix" in mixing and place // 2 % 2 == 1)
            if is_cut:
                from_own, from_other = (mixed == own).all(-1), (mixed == other).all(-1)
                assert (from_own | from_other).all()
                assert from_own.mean() == pytest.approx(ratio)
            else:
                blended = ratio * own.astype(float) + (1 - ratio) * other
                np.testing.assert_allclose(mixed, blended, rtol=0, atol=0.501)


@pytest.mark.parametrize("mixing", [{"mixup": 0.2}, {"cutmix": True}, {"mixup": 0.2, "cutmix": True}])
@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_a_partner_is_another_image_and_each_is_one_once(mixing: dict, accumulation: int) -> None:
    # A label an image, so that labels tell which image it is.
    split = replace(make_split(20), labels=np.arange(20))
    for batch in batches_of(split, replace(RECIPE, accumulation_steps=accumulation, **mixing), range(5)):
        assert torch.equal(batch.labels, batch.indices)
        assert (batch.partners != batch.labels).all()
        assert batch.partners.sort().values.equal(batch.labels.sort().values)
        back = dict(zip(batch.labels.tolist(), batch.partners.tolist(), strict=True))
        assert all(back[back[image]] == image for image in back)


def test_half_of_a_batch_is_blended_and_half_is_cut() -> None:
    split = make_split(64, encoded=False)
    recipe = replace(RECIPE, batch_size=64, mixup=1.0, cutmix=True, flip=False, crop_area=1, crop_aspect=1)
    plain = batches_of(split, replace(recipe, mixup=None, cutmix=False), range(1))[0].images
    mixed = batches_of(split, recipe, range(1))[0].images
    partners = plain[torch.arange(64) ^ 1]
    of_either = ((mixed == plain) | (mixed == partners)).all(dim=1).float().mean(dim=(1, 2))
    assert (of_either == 1).sum() == 32
    assert (of_either < 0.5).sum() > 25


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.2}, {"mixup": 0.2, "cutmix": True}])
def test_randaugment_comes_after_mixing_and_touches_the_images_alone(
    mixing: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def noted(view: np.ndarray, *arguments: object) -> np.ndarray:
        assert arguments[:2] == (1.0, 3)
        seen.append((view.copy(), distort(view, *arguments)))
        return seen[-1][1]

    monkeypatch.setattr(loader, "distort", noted)
    split, plain = make_split(), replace(RECIPE, **mixing)
    distorted = replace(plain, randaugment=1.0, randaugment_layers=3)
    before, after = (batches_of(split, recipe, range(6)) for recipe in (plain, distorted))
    for name in ("labels", "partners", "ratios", "indices"):
        assert torch.equal(joined(before, name), joined(after, name)), name
    for batches, views in zip((before, after), zip(*seen, strict=True), strict=True):
        np.testing.assert_array_equal(joined(batches, "images").permute(0, 2, 3, 1).numpy(), np.stack(views))
    changed = (joined(before, "images") != joined(after, "images")).flatten(1).any(1)
    assert changed.sum() > 40
    assert all(batch.images.is_contiguous(memory_format=torch.channels_last) for batch in after)


def test_cut_mix_is_drawn_apart_from_the_crop() -> None:
    # Were the stream begun again, the pasted box would follow from where the crop fell.
    split, recipe = make_split(), replace(RECIPE, cutmix=True)
    batch = batches_of(split, recipe, range(1))[0]
    keys = keys_of(20, recipe, range(1))[0]
    zeros = np.zeros((8, 8, 3), np.uint8)
    same = [
        cut_mix(zeros, zeros, stream(SEED, key.epoch, key.index, SAMPLE))[1] == pytest.approx(ratio)
        for key, ratio in zip(keys, batch.ratios.tolist(), strict=True)
    ]
    assert not all(same)


def test_an_image_that_breaks_later_is_replaced_and_reported() -> None:
    split = make_split(16)
    split.images[3] = b"broken meanwhile"
    batches = batches_of(split, RECIPE, range(4))
    assert sum(len(batch.labels) for batch in batches) == 32
    reports = [broken for batch in batches for broken in batch.broken]
    assert [(broken.index, broken.reason) for broken in reports] == [(3, "cannot identify image file")] * 2
    for batch in batches:
        assert 3 not in batch.indices
        assert torch.equal(batch.labels, torch.from_numpy(split.labels)[batch.indices])


def test_when_no_image_is_left_it_says_so() -> None:
    split = make_split(8)
    split.images[:] = [b""] * 8
    with pytest.raises(UserError, match="no image of the training split can be read"):
        batches_of(split, RECIPE, range(1))


@pytest.mark.parametrize(("images", "processes", "batch_size"), [(10, 3, 2), (10, 1, 4), (2, 3, 4)])
def test_evaluation_covers_each_image_once(images: int, processes: int, batch_size: int) -> None:
    split = make_split(images)
    seen = []
    for rank in range(processes):
        for batch in evaluation_loader(
            EvaluationImages(split, VIEW), batch_size=batch_size, rank=rank, processes=processes, workers=0
        ):
            assert len(batch.labels) <= batch_size
            for image, label, index in zip(batch.images, batch.labels.tolist(), batch.indices.tolist(), strict=True):
                seen.append(index)
                assert label == split.labels[index]
                view = evaluation_view(decode(split[index]), 8, 2)
                assert torch.equal(image.permute(1, 2, 0), torch.from_numpy(view.copy()))
    assert sorted(seen) == list(range(images))


def test_evaluation_leaves_broken_images_out() -> None:
    split = make_split(4)
    split.images[0] = split.images[1] = split.images[2] = b""
    first, second = evaluation_loader(EvaluationImages(split, VIEW), batch_size=2, rank=0, processes=1, workers=0)
    assert len(first.labels) == len(first.indices) == 0
    assert [broken.index for broken in first.broken] == [0, 1]
    assert second.indices.tolist() == [3]
    assert [(broken.index, broken.reason) for broken in second.broken] == [(2, "the file is empty")]


def test_making_batches_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    batches_of(make_split(), RECIPE, range(2))
    list(evaluation_loader(EvaluationImages(make_split(), VIEW), batch_size=4, rank=0, processes=1, workers=0))
    assert torch.equal(torch.rand(3), expected)
