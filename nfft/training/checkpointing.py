"""Save a run in the middle and take it up again: safetensors and JSON, nothing that could execute.

A checkpoint is a folder `step-00000120/` with state.safetensors (weights, momentum, average) and
state.json (step, scaler, hash of both files' content). It is written under another name and renamed when whole.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from nfft.models.tensors import write_tensors

KEPT = 2
TENSORS, FACTS = "state.safetensors", "state.json"


@dataclass(frozen=True)
class Saved:
    """A checkpoint read back: tensors by name, and facts (step, scaler, ...) from its JSON."""

    folder: Path
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
    """Write the checkpoint of `step` under `folder`, then delete all but it and the one before."""
    final = folder / f"step-{step:08d}"
    stage = folder / f".{final.name}.{os.getpid()}"
    # What a killed process left half-written: none but this one is at work here.
    for left in folder.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)
    stage.mkdir(parents=True)
    write_tensors(stage / TENSORS, tensors)
    record = {**facts, "step": step}
    record["sha256"] = _hash(stage / TENSORS, record)
    (stage / FACTS).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for name in (TENSORS, FACTS):
        _flush(stage / name)
    shutil.rmtree(final, ignore_errors=True)
    stage.rename(final)
    _flush(folder)
    # Those of later steps are damaged: otherwise the run would have gone on from them.
    done = [path for path in _folders(folder) if path.name <= final.name]
    for other in set(_folders(folder)) - set(done[-KEPT:]):
        shutil.rmtree(other)
    return final


def latest_checkpoint(folder: Path) -> tuple[Saved | None, list[str]]:
    """The newest checkpoint that is whole, and a line about each newer one that is not.

    Raises:
        OSError: when one cannot be read, whole or not.
    """
    torn: list[str] = []
    for candidate in reversed(_folders(folder)):
        try:
            return _read(candidate), torn
        # What a disk does not give just now is no damage: an older checkpoint would replace it.
        except (FileNotFoundError, ValueError, KeyError, SafetensorError) as error:
            torn.append(f"{candidate} is damaged ({error}) and passed over")
    return None, torn


def _read(folder: Path) -> Saved:
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    if not isinstance(facts, dict) or facts.pop("sha256", None) != _hash(folder / TENSORS, facts):
        raise ValueError("its content does not match its hash")
    with safe_open(folder / TENSORS, framework="pt") as file:
        return Saved(folder, {name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _hash(tensors: Path, facts: Mapping[str, Any]) -> str:
    with tensors.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Force a file or folder to the disk, so that a rename never outlives its content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
