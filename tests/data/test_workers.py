"""Loader processes end with what they are for, and their batches are the same whichever way they come."""

import multiprocessing
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_recipe import RECIPE
from torch import Tensor

from nfft.data import workers
from nfft.data.loader import Batch, EvaluationImages, evaluation_loader, train_loader
from nfft.data.splits import Split
from nfft.data.workers import Loader, sharing_lines, worker_begins, workers_end

MIXED = replace(RECIPE, mixup=0.2, cutmix=True)


def photos() -> Split:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 20, 3), dtype=np.uint8)
    return Split("train", list(pixels), np.arange(16), np.arange(16) % 2, None)


def half(image: Image.Image) -> np.ndarray:
    return np.array(image)[:16, :16]


def batches(number: int) -> list[Batch]:
    split = photos()
    trained = train_loader(split, MIXED, 0, steps=range(2), rank=0, processes=1, workers=number)
    images = EvaluationImages(split, half)
    scored = evaluation_loader(images, batch_size=6, rank=0, processes=1, workers=number)
    return [*trained, *scored]


@pytest.mark.parametrize("free", [0, workers.SPARE + 1000, None])
def test_short_of_shared_memory(monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    expected = batches(0)
    monkeypatch.setattr(workers, "free_shared_memory", lambda: free)
    for one, other in zip(expected, batches(1), strict=True):
        assert one.broken == other.broken
        for name, value in vars(one).items():
            if isinstance(value, Tensor):
                there = getattr(other, name)
                assert torch.equal(value, there) and value.stride() == there.stride(), name
                assert there.is_shared() == (free is None), name
    (line,) = sharing_lines(1000, 2) if free is not None else [""]
    assert ("no loader processes" in line) == (free == 0)


class Stuck(torch.utils.data.Dataset[int]):
    """One that never answers after the first."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> int:
        if index:
            threading.Event().wait()
        return index


def test_no_worker_outlives_an_error() -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(KeyError), workers_end():
        loaded = iter(Loader(Stuck(), num_workers=2, worker_init_fn=worker_begins))
        next(loaded)
        assert len(set(multiprocessing.active_children()) - before) == 2
        raise KeyError
    assert set(multiprocessing.active_children()) == before
