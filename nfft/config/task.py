"""A task: where labeled images come from and how their classes are told apart."""

import re
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Interval

from nfft.config.fields import check_type, expectations, shown
from nfft.errors import UserError, nearest
from nfft.text import printable

METRICS = ("top1", "mean_per_class")
# In place of the name of a split or a column: it is not used, though it be there.
NONE = "none"
# In place of the name of the column that says the split: the one that looks like it.
AUTO = "auto"
CHECKS = ("sample", "all")
BACKGROUNDS = ("white", "black", "none")


def is_background(value: Any) -> bool:
    """Whether pictures can lie on it."""
    return isinstance(value, str) and (value in BACKGROUNDS or re.fullmatch("#[0-9a-fA-F]{6}", value) is not None)


@dataclass(frozen=True)
class Task:
    """What a file in `tasks/` declares as TASK, and what any folder or file of images becomes.

    Attributes:
        source: a dataset id on the Hub, a path, a function that returns the columns
            {"image": ..., "label": ..., "names": ...} of data that a package ships, or data in memory as
            `nfft.data.sources.memory.task_of` takes them.
        config: the configuration of the dataset, where it has several.
        image, label: column names; when absent, recognized by feature type and usual names.
        images: the folder that a table's paths of images are relative to; when absent, the table's own, or one in it
            that has them all.
        ending: what the names of images in a table lack, such as ".jpg"; when absent, what is found.
        split: the column of a table that says which split a row belongs to; "auto" takes one that is named so and
            holds such words, "none" takes none.
        train: the name of a split; when absent, recognized by usual names.
        validation, test: the same; with "none", that of the data is not used.
        leaks: what is done about an image that is in two splits: "warn" says so, "refuse" stops, "drop" takes it out
            of training (and of validation, where it is in test, too).
        validation_fraction, test_fraction: share of train held out, stratified, where the data has no
            such split. No test is held out by default.
        train_images: use about this many training images, the same share of every class; all when absent.
        unlabelled: a folder of more images to train on, at any depth, of which nothing says what they are: the run's
            `--teacher` does. Images that validation or test have, too, are refused, or left out with leaks=drop.
        max_broken_fraction: more unreadable images than this share, of those looked at before it, stop a run.
        check: how pictures are compared when a run is taken up again: "sample" takes names, sizes and the content of
            some, "all" reads all.
        background: what transparent pictures lie on: "white", which it is when absent, "black", "#rrggbb", or "none",
            which shows the colors that they hide.
        black, white: the values that are shown so; of pictures of more than 8 bits, by their range when absent.
        max_pixels: larger pictures are not read; Pillow's limit, 178,956,970, when absent.
        metric: the figure to quote: "top1", or "mean_per_class" where that is the custom.
        suggests: recipe settings that suit this data, taken over the recipe's own.
        title, homepage, citation, license: for the model card.
        note: what a user should know, such as columns that were never tried against the real repository.
    """

    name: str
    source: str | Callable[[], Mapping[str, Any]] | Sized
    config: str | None = None
    image: str | None = None
    label: str | None = None
    images: str | None = None
    ending: str | None = None
    split: str = AUTO
    train: str | None = None
    validation: str | Literal["none"] | None = None
    test: str | Literal["none"] | None = None
    leaks: Literal["warn", "refuse", "drop"] = "warn"
    validation_fraction: Annotated[float, Interval(ge=1e-6, le=1)] = 0.1
    test_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.0
    train_images: Annotated[int, Interval(ge=2)] | None = None
    unlabelled: str | None = None
    max_broken_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.01
    check: str = "sample"
    background: str | None = None
    black: Annotated[float, Interval(ge=-1e12, le=1e12)] | None = None
    white: Annotated[float, Interval(ge=-1e12, le=1e12)] | None = None
    max_pixels: Annotated[int, Interval(ge=1, le=1_000_000_000_000)] | None = None
    metric: str = "top1"
    suggests: Mapping[str, Any] = field(default_factory=dict)
    title: str | None = None
    homepage: str | None = None
    citation: str | None = None
    license: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.source, (str, Sized)) or callable(self.source)):
            raise UserError(
                f"task {shown(self.name)}: source must be text, a function or data; got {shown(self.source)}."
            )
        if not isinstance(self.suggests, Mapping):
            raise UserError(f"task {shown(self.name)}: suggests must be names with values; got {shown(self.suggests)}.")
        if isinstance(self.name, str):
            # That of a folder need not be UTF-8, which records are.
            object.__setattr__(self, "name", printable(self.name))
        for name, expected in expectations(Task).items():
            value = getattr(self, name)
            check_type(name, value, expected)
            if (bounds := expected.bounds_broken_by(value)) is None:
                continue
            if expected.bounds is None or expected.bounds.le is None:
                raise UserError(f"{name} must be {bounds}; got {shown(value)}.")
            raise UserError(
                f"{name} must be between {expected.bounds.ge:g} and {expected.bounds.le:g}; got {shown(value)}. "
                f"Change it with --set task.{name}=..."
            )
        if self.validation_fraction + self.test_fraction >= 1:
            raise UserError(
                f"validation_fraction {self.validation_fraction:g} and test_fraction {self.test_fraction:g} leave "
                "nothing to train on. Change them with --set task.validation_fraction=..."
            )
        if self.background is not None and not is_background(self.background):
            raise UserError(
                f'background must be white, black, none or a color such as "#ff8800"; got {shown(self.background)}.'
            )
        if self.black is not None and self.white is not None and self.black >= self.white:
            raise UserError(f"black must be below white; got black={self.black:g} and white={self.white:g}.")
        if self.metric not in METRICS:
            raise UserError(f"unknown metric {shown(self.metric)}; {nearest(self.metric, METRICS)}")
        if self.check not in CHECKS:
            raise UserError(f"unknown check {shown(self.check)}; {nearest(self.check, CHECKS)}")
