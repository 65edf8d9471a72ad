"""What was asked for on a command line, in the toolkit's own terms."""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfft.errors import UserError


@dataclass(frozen=True)
class Request:
    """What the user asked for, as text where it has yet to be understood.

    Attributes:
        changes: settings by name, of the recipe or, as "task.NAME" and "method.NAME", of the task and the method.
        shots: training images of each class, drawn by the seed; all when absent.
    """

    task: str
    model: str
    recipe: str
    method: str
    model_args: Mapping[str, Any]
    changes: Mapping[str, str]
    seed: int
    shots: int | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Request":
        """What the options of `nfft finetune` ask for.

        Raises:
            UserError: for an option that is not NAME=VALUE, or a seed out of range.
        """
        if not 0 <= options.seed < 2**32:
            raise UserError(f"--seed must be between 0 and {2**32 - 1}; got {options.seed}.")
        return cls(
            task=options.task,
            model=options.model,
            recipe=options.recipe,
            method=options.method,
            model_args={name: _number(text) for name, text in pairs(options.model_arg, "--model-arg").items()},
            changes=changes_of(options),
            seed=options.seed,
            shots=options.shots,
        )


def changes_of(options: argparse.Namespace) -> dict[str, str]:
    """Settings by name: those of --set, and those with an option of their own."""
    own = {"total_steps": options.steps, "epochs": options.epochs, "batch_size": options.batch_size, "lr": options.lr}
    return {**pairs(options.set, "--set"), **{name: text for name, text in own.items() if text is not None}}


def default_folder(options: argparse.Namespace) -> Path:
    """runs/TASK-MODEL, with nothing in it that could lead out of runs/."""
    stems = [Path(options.task).stem, options.model.rstrip("/").split("/")[-1].removeprefix("scratch:")]
    return Path("runs") / "-".join(re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-") or "run" for stem in stems)


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """Each NAME=VALUE as a name and its text."""
    for text in texts:
        if "=" not in text:
            raise UserError(f"{option} takes NAME=VALUE; got {text!r}.")
    return {name.strip(): value for name, value in (text.split("=", 1) for text in texts)}


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
