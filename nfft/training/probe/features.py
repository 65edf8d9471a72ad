"""What the body of a network makes of images: looked at once, kept on disk, read as it is needed."""

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from nfft.data.loader import Batch, EvaluationImages, evaluation_loader
from nfft.data.scan import BrokenImage
from nfft.errors import UserError
from nfft.files import write_json

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
        broken: images among them that could not be read; their rows are zero.
    """

    path: Path
    labels: np.ndarray
    key: str
    rows: int = 0
    seconds: float = 0.0
    broken: list[BrokenImage] = field(default_factory=list)

    @cached_property
    def values(self) -> np.ndarray:
        return np.load(self.path, mmap_mode="r", allow_pickle=False)

    @cached_property
    def readable(self) -> np.ndarray:
        """Indices of the images that could be read, ascending."""
        return np.setdiff1d(np.arange(len(self.labels)), [each.index for each in self.broken])

    def chunks(self, size: int) -> "list[np.ndarray]":
        """The readable rows' indices, `size` at a time."""
        return [self.readable[start : start + size] for start in range(0, len(self.readable), size)]

    @property
    def is_complete(self) -> bool:
        return self.rows == len(self.labels)


def find_features(path: Path, labels: np.ndarray, facts: dict[str, Any], accelerator: Accelerator) -> Features:
    """The features in a file, as far as they were computed from the same `facts`; no rows otherwise."""
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    found = Features(path, labels, key)
    if accelerator.is_main_process:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            noted = json.loads(_beside(path).read_text(encoding="utf-8"))
            broken = [BrokenImage(**each) for each in noted["broken"]]
            before = Features(path, labels, noted["key"], int(noted["rows"]), float(noted["seconds"]), broken)
            if noted["key"] == key and len(before.values) == len(labels) >= before.rows:
                found = before
    (found.rows, found.broken) = broadcast_object_list([found.rows, found.broken])
    return found


def extract_features(
    found: Features,
    images: EvaluationImages,
    features_of: Callable[[Tensor], Tensor],
    width: int,
    accelerator: Accelerator,
    *,
    workers: int,
    stop_requested: Callable[[], bool],
    show: Callable[[int], None],
) -> bool:
    """Compute the rows that are missing, each process its share; the main one writes them.

    Args:
        features_of: uint8 images (n, 3, h, w) -> features (n, width).
        stop_requested: polled once a batch; when any process says yes, all stop, and what there is stays.
        show: is told after each batch how many rows there are.

    Returns:
        Whether all rows are there now.

    Raises:
        UserError: for features that are not finite.
    """
    processes, total = accelerator.num_processes, len(found.labels)
    values = _open_file(found, width) if accelerator.is_main_process else None
    batches = iter(
        evaluation_loader(
            images,
            batch_size=BATCH,
            rank=accelerator.process_index,
            processes=processes,
            workers=workers,
            first=found.rows,
        )
    )
    for count in range(1, math.ceil((total - found.rows) / (processes * BATCH)) + 1):
        began = time.perf_counter()
        # The last batches may leave a process nothing to do; it gathers all the same.
        batch = next(batches, None)
        mine = [] if batch is None else [(batch.indices.numpy(), _rows(batch, features_of, width), batch.broken)]
        for indices, rows, broken in gather_object(mine) if processes > 1 else mine:
            # Every process sees the rows of all, and says the same.
            if not np.isfinite(rows).all():
                raise UserError(
                    "some features are not finite, or beyond 65,504. Instead of --precision fp16 use bf16 or fp32; "
                    "else this checkpoint cannot be probed: use another --method."
                )
            if values is not None:
                values[indices] = rows
            found.broken += broken
        found.rows = min(total, found.rows + processes * BATCH)
        found.seconds += time.perf_counter() - began
        show(found.rows)
        stop = torch.tensor(float(stop_requested()), device=accelerator.device)
        stops = accelerator.reduce(stop, reduction="sum").item() > 0
        if values is not None and (found.is_complete or stops or count % NOTED == 0):
            values.flush()
            _note(found)
        if stops:
            break
    return found.is_complete


def _open_file(found: Features, width: int) -> np.memmap:
    if not found.rows:
        found.path.parent.mkdir(parents=True, exist_ok=True)
        _beside(found.path).unlink(missing_ok=True)
        values = np.lib.format.open_memmap(found.path, mode="w+", dtype=KEPT, shape=(len(found.labels), width))
        # A page that is written later without room on the disk would end the process without a word.
        if hasattr(os, "posix_fallocate"):
            with found.path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, found.path.stat().st_size)
        return values
    return np.lib.format.open_memmap(found.path, mode="r+")


def _rows(batch: Batch, features_of: Callable[[Tensor], Tensor], width: int) -> np.ndarray:
    if not len(batch.labels):
        return np.empty((0, width), KEPT)
    with np.errstate(over="ignore"):
        return features_of(batch.images).float().cpu().numpy().astype(KEPT)


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _note(found: Features) -> None:
    broken = [{"index": each.index, "reason": each.reason} for each in found.broken]
    noted = {"key": found.key, "rows": found.rows, "seconds": found.seconds, "broken": broken}
    write_json(_beside(found.path), noted)
