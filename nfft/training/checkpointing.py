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

from nfft.files import make_folder, read_json, sync, write_text
from nfft.models.tensors import write_tensors
from nfft.runs.folder import FACTS, STEP_UNFINISHED, steps_in

KEPT = 2
TENSORS = "state.safetensors"


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
    for left in folder.iterdir() if folder.is_dir() else []:
        if STEP_UNFINISHED.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)
    make_folder(stage)
    write_tensors(stage / TENSORS, tensors)
    record = {**facts, "step": step}
    record["sha256"] = _hash(stage / TENSORS, record)
    write_text(stage / FACTS, json.dumps(record, indent=2) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    stage.rename(final)
    sync(folder)
    prune(folder, final)
    return final


def prune(folder: Path, newest: Path) -> None:
    """Delete all checkpoints but KEPT: `newest`, and those before it.

    Those of later steps are damaged: otherwise the run would have gone on from them.
    """
    steps = steps_in(folder)
    done = steps[: steps.index(newest) + 1]
    for other in set(steps) - set(done[-KEPT:]):
        shutil.rmtree(other)


def latest_checkpoint(folder: Path) -> tuple[Saved | None, list[str]]:
    """The newest checkpoint that is whole, and a line about each newer one that is not.

    Raises:
        OSError: when one cannot be read, whole or not.
    """
    torn: list[str] = []
    for candidate in reversed(steps_in(folder)):
        try:
            return _read(candidate), torn
        # What a disk does not give just now is no damage: an older checkpoint would replace it.
        except (FileNotFoundError, ValueError, KeyError, RecursionError, SafetensorError) as error:
            torn.append(f"{candidate} is damaged ({error}) and passed over")
    return None, torn


def _read(folder: Path) -> Saved:
    facts = read_json(folder / FACTS)
    if not isinstance(facts, dict) or facts.pop("sha256", None) != _hash(folder / TENSORS, facts):
        raise ValueError("its content does not match its hash")
    if type(facts.get("step")) is not int or facts["step"] < 0:
        raise ValueError("its step is no number of steps")
    with safe_open(folder / TENSORS, framework="pt") as file:
        return Saved(folder, {name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118


def _hash(tensors: Path, facts: Mapping[str, Any]) -> str:
    with tensors.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()
