"""What a run is to be: the one type from a command line, or a call of Python's, to run.json."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from nfft.config.fields import check_type, expectations, shown
from nfft.config.task import Task
from nfft.cores import Moment
from nfft.errors import UserError, nearest

LARGEST_SEED = 2**32 - 1
# The checkpoint that comes with nfft.
PACKAGED = "nfnet-nano"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What to train on what, and where to put it; settings that are text have yet to be read.

    Attributes:
        task: a name, a path, or an id on the Hub, as `--task` takes it; or what such a name stands for.
        model: a checkpoint's name, as `--model` takes it.
        model_args: arguments of timm's constructor, for "scratch:" only.
        settings: by name, as text or as values; of the recipe or, as "task.NAME" and "method.NAME", of the task and
            the method.
        teacher: a checkpoint's name, as `--teacher` takes it, whose probabilities are learned beside the labels.
        seed: of order, augmentation and new weights.
        shots: training images of each class, drawn by the seed; all when absent.
        precision: one of PRECISIONS.
        output_dir: the run folder; runs/TASK-MODEL when absent.
        resume: take up the run in the folder where it was left.
        push_to: a repository of the Hub that the run is put into.
        private: whether that is private when it is made; the account's default when absent.
        command: what asks for all this, for others to read.
        began: when that was; before the libraries are imported.

    Raises:
        UserError: for a value of the wrong type, or one that is out of range.
    """

    task: str | Task
    model: str = PACKAGED
    recipe: str = "auto"
    method: str = "full"
    model_args: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    seed: Annotated[int, Interval(ge=0, le=LARGEST_SEED)] = 0
    shots: Annotated[int, Interval(ge=1)] | None = None
    precision: str = "auto"
    output_dir: Path | None = None
    resume: bool = False
    push_to: str | None = None
    private: bool | None = None
    command: str = ""
    began: Moment = field(default_factory=Moment.now, compare=False)

    def __post_init__(self) -> None:
        for name, expected in expectations(RunConfig).items():
            value = getattr(self, name)
            check_type(name, value, expected)
            if (bounds := expected.bounds_broken_by(value)) is not None:
                bounds = f"between 0 and {LARGEST_SEED}" if name == "seed" else bounds
                raise UserError(f"--{name} must be {bounds}; got {shown(value)}.")
        if self.precision not in PRECISIONS:
            raise UserError(f"unknown precision {shown(self.precision)}; {nearest(self.precision, PRECISIONS)}")

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.output_dir or default_folder(self.task_name, self.model)

    @property
    def task_name(self) -> str:
        """The task as it was named."""
        return self.task.name if isinstance(self.task, Task) else self.task


def default_folder(task: str, model: str) -> Path:
    """runs/TASK-MODEL, with nothing in it that could lead out of runs/."""
    stems = [Path(task).stem, model.rstrip("/").split("/")[-1].removeprefix("scratch:")]
    return Path("runs") / "-".join(re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-") or "run" for stem in stems)


def split_pairs(texts: list[str], option: str) -> dict[str, str]:
    """Texts of the form NAME=VALUE, by name.

    Raises:
        UserError: for a text of another form.
    """
    for text in texts:
        if "=" not in text:
            raise UserError(f"{option} takes NAME=VALUE; got {shown(text)}.")
    return {name.strip(): value for name, value in (text.split("=", 1) for text in texts)}


def read_model_args(texts: list[str]) -> dict[str, Any]:
    """Arguments of a constructor by name: numbers, true and false as such, anything else as text."""
    return {name: _read_scalar(text) for name, text in split_pairs(texts, "--model-arg").items()}


def _read_scalar(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
