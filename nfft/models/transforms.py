"""Evaluation preprocessing in timm's words, and its transforms."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from nfft.models.checkpoint import Checkpoint

# What is left of a picture around a view of it, for other crops to differ: at least this share of the view's side.
ROOM = 1 / 4


def squash_preprocessing(checkpoint: Checkpoint, resolution: int, margin: int) -> dict[str, Any]:
    """The paper's evaluation in timm's words: resize to resolution + margin on both sides, crop the center."""
    return {
        "input_size": (3, resolution, resolution),
        "interpolation": "bicubic",
        "mean": tuple(checkpoint.preprocessing["mean"]),
        "std": tuple(checkpoint.preprocessing["std"]),
        "crop_pct": crop_share(resolution, margin),
        "crop_mode": "squash",
    }


def stored_preprocessing(checkpoint: Checkpoint, resolution: int | None = None) -> dict[str, Any]:
    """The checkpoint's own evaluation, at its test size or another, in timm's words."""
    stored = checkpoint.preprocessing
    side = resolution or checkpoint.test_side
    share = stored.get("test_crop_pct") or stored.get("crop_pct") or 0.875
    if stored.get("crop_mode") == "squash" and resolution not in (None, checkpoint.test_side):
        # The margin that the authors leave is a number of px, whatever the size.
        margin = math.floor(checkpoint.test_side / share) - checkpoint.test_side
        share = crop_share(side, margin)
    return {
        "input_size": (3, side, side),
        "interpolation": stored.get("interpolation", "bicubic"),
        "mean": tuple(stored["mean"]),
        "std": tuple(stored["std"]),
        "crop_pct": share,
        "crop_mode": stored.get("crop_mode", "center"),
    }


def uncropped(preprocessing: dict[str, Any]) -> dict[str, Any]:
    """The same before the center is cropped, at the same margin or a larger one, with ROOM for other crops."""
    side = preprocessing["input_size"][-1]
    resized = max(math.floor(side / preprocessing["crop_pct"]), side + round(ROOM * side))
    return {**preprocessing, "input_size": (3, resized, resized), "crop_pct": 1.0}


def transform_of(preprocessing: dict[str, Any]) -> Callable[[Image.Image], Tensor]:
    """timm's own transform of an evaluation: an image of Pillow to normalized pixels (3, side, side)."""
    return create_transform(**preprocessing, is_training=False)


def pixels_of(preprocessing: dict[str, Any]) -> Callable[[Image.Image], np.ndarray]:
    """The same transform before it normalizes: uint8 pixels (side, side, 3)."""
    return partial(_pixels, create_transform(**preprocessing, is_training=False, normalize=False))


def _pixels(transform: Callable[[Image.Image], Tensor], image: Image.Image) -> np.ndarray:
    return transform(image).permute(1, 2, 0).numpy()


def crop_share(resolution: int, margin: int) -> float:
    """timm's crop_pct for resizing to resolution + margin: it computes floor(resolution / crop_pct)."""
    share = resolution / (resolution + margin)
    return share if math.floor(resolution / share) == resolution + margin else math.nextafter(share, 0)
