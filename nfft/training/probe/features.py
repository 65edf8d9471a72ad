"""What the body of a network makes of images: looked at once, kept on disk, read as it is needed."""

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from nfft.data.loader import EvaluationImages
from nfft.data.scan import BrokenImage
from nfft.data.workers import end_workers
from nfft.errors import UserError
from nfft.evaluation.predictor import Predictor
from nfft.files import make_folder, sync, write_json

logger = logging.getLogger(__name__)

BATCH = 128
# Rounds to an eighth of what bf16 arithmetic has lost already, in half the room of float32.
KEPT = np.float16
# Batches between two notes of how far it has come, from where a run that was killed goes on.
NOTED = 50


@dataclass
class Features:
    """Features of a split, a row an image.

    Attributes:
        path: a .npy file, float16, shape (n, width); beside it, in JSON, what is known of it.
        labels: (n,), int64.
        key: hash of everything that the features follow from.
        rows: how many have been computed, from the first on.
        seconds: time that took.
        hashes: of rows that are on the disk: up to which row from the one before, and SHA-256.
        broken: images among them that could not be read; their rows are zero.
        first: column that `values` begin with.
    """

    path: Path
    labels: np.ndarray
    key: str
    rows: int = 0
    seconds: float = 0.0
    hashes: list[tuple[int, str]] = field(default_factory=list)
    broken: list[BrokenImage] = field(default_factory=list)
    first: int = 0

    @cached_property
    def values(self) -> np.ndarray:
        return np.load(self.path, mmap_mode="r", allow_pickle=False)[:, self.first :]

    def columns(self, first: int) -> "Features":
        """Of the same images, the columns from one on."""
        return replace(self, first=first)

    @cached_property
    def readable(self) -> np.ndarray:
        """Indices of the images that could be read, ascending."""
        return np.setdiff1d(np.arange(len(self.labels)), [image.index for image in self.broken])

    def chunks(self, size: int) -> "list[np.ndarray]":
        """The readable rows' indices, `size` at a time."""
        return [self.readable[start : start + size] for start in range(0, len(self.readable), size)]

    @property
    def is_complete(self) -> bool:
        return self.rows == len(self.labels)


def find_features(path: Path, labels: np.ndarray, facts: dict[str, Any], accelerator: Accelerator) -> Features:
    """The features in a file, as far as they were computed from the same `facts`; no rows otherwise."""
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    features = Features(path, labels, key)
    if accelerator.is_main_process:
        with contextlib.suppress(OSError, msgspec.MsgspecError, RecursionError):
            features = _read(features)
    (features.rows, features.broken) = broadcast_object_list([features.rows, features.broken])
    return features


@dataclass(frozen=True)
class _Noted:
    """What the JSON beside a file of features says of it."""

    key: str
    rows: int
    seconds: float
    hashes: list[tuple[int, str]]
    broken: list[BrokenImage]


def _read(features: Features) -> Features:
    """The features that the file has, as far as their hashes fit.

    Raises:
        OSError, msgspec.MsgspecError, RecursionError: when nothing is noted of them, or not as it should be.
    """
    noted = msgspec.json.decode(_beside(features.path).read_bytes(), type=_Noted)
    if noted.key != features.key:
        return features
    before = Features(features.path, features.labels, features.key, noted.rows, noted.seconds)
    before.broken, count = noted.broken, len(features.labels)
    # Cut, or no .npy any more: numpy reads the head as an expression of Python's.
    with contextlib.suppress(OSError, ValueError, EOFError, SyntaxError, TypeError, IndexError):
        if before.values.dtype == KEPT and before.values.ndim == 2 and len(before.values) == count:
            before.hashes = _fitting(before.values, noted.hashes)
    rows = before.hashes[-1][0] if before.hashes else 0
    if rows < before.rows:
        logger.warning("%s is damaged from row %d on: these are computed again", features.path, rows)
        before.seconds *= rows / before.rows
        before.rows, before.broken = rows, [image for image in before.broken if image.index < rows]
    return before if 0 < rows <= before.rows else features


def _fitting(values: np.ndarray, hashes: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The first of the hashes, up to one that does not fit its rows."""
    fitting, start = [], 0
    for end, digest in hashes:
        if not start < end <= len(values) or _hash_of(values[start:end]) != digest:
            break
        fitting.append((end, digest))
        start = end
    return fitting


def _hash_of(rows: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest()


def extract_features(
    features: Features,
    images: EvaluationImages,
    predictor: Predictor,
    body: Callable[[Tensor], Tensor],
    width: int,
    accelerator: Accelerator,
    *,
    stop_requested: Callable[[], bool],
    show: Callable[[int], None],
) -> bool:
    """Compute the rows that are missing, each process its share; the main one writes them.

    Args:
        body: normalized images (n, 3, side, side) -> features (n, width), float16.
        stop_requested: polled once a batch; when any process says yes, all stop, and what there is stays.
        show: is told after each batch how many rows there are.

    Returns:
        Whether all rows are there now.

    Raises:
        UserError: for features that are not finite.
    """
    values = _open_file(features, width) if accelerator.is_main_process else None
    began = time.perf_counter()
    for count, outputs in enumerate(predictor.outputs(body, images, features.rows), start=1):
        # Every process sees the rows of all, and says the same.
        if not np.isfinite(outputs.rows).all():
            raise UserError(
                "some features are not finite, or beyond 65,504. Instead of --precision fp16 use bf16 or fp32; "
                "else this checkpoint cannot be probed: use another --method."
            )
        if values is not None and len(outputs.rows):
            values[outputs.indices] = outputs.rows
        features.broken += outputs.broken
        features.rows = outputs.done
        features.seconds += time.perf_counter() - began
        show(features.rows)
        stop = torch.tensor(float(stop_requested()), device=accelerator.device)
        stops = accelerator.reduce(stop, reduction="sum").item() > 0
        if values is not None and (features.is_complete or stops or count % NOTED == 0):
            values.flush()
            sync(features.path)
            start = features.hashes[-1][0] if features.hashes else 0
            features.hashes.append((features.rows, _hash_of(values[start : features.rows])))
            _note(features)
        if stops:
            end_workers()
            break
        began = time.perf_counter()
    return features.is_complete


def _open_file(features: Features, width: int) -> np.memmap:
    if not features.rows:
        make_folder(features.path.parent)
        _beside(features.path).unlink(missing_ok=True)
        values = np.lib.format.open_memmap(features.path, mode="w+", dtype=KEPT, shape=(len(features.labels), width))
        # A page that is written later without room on the disk would end the process without a word.
        if hasattr(os, "posix_fallocate"):
            with features.path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, features.path.stat().st_size)
        return values
    return np.lib.format.open_memmap(features.path, mode="r+")


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _note(features: Features) -> None:
    broken = [{"index": image.index, "reason": image.reason} for image in features.broken]
    noted = {"key": features.key, "rows": features.rows, "seconds": features.seconds, "hashes": features.hashes}
    write_json(_beside(features.path), {**noted, "broken": broken})
