"""A task: where labelled images come from and how their classes are told apart."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """What a file in `tasks/` declares as TASK, and what any folder or file of images becomes.

    Attributes:
        source: a dataset id on the Hub, a path, or a function that returns the columns
            {"image": ..., "label": ..., "names": ...} of data that a package ships.
        config: the configuration of the dataset, where it has several.
        image, label: column names; found by feature type and usual names when absent.
        train, validation, test: split names; found by usual names when absent.
        validation_fraction, test_fraction: share of train held out, stratified, where the data has no
            such split. No test is held out unless asked for.
        max_broken_fraction: more unreadable images than this share stop the run.
        metric: the figure to quote: "top1", or "mean_per_class" where that is the custom.
        suggests: recipe settings that suit this data, taken over the recipe's own.
        title, homepage, citation, licence: for the model card.
        note: what a user should know, such as columns that were never tried against the real repository.
    """

    name: str
    source: str | Callable[[], Mapping[str, Any]]
    config: str | None = None
    image: str | None = None
    label: str | None = None
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.0
    max_broken_fraction: float = 0.01
    metric: str = "top1"
    suggests: Mapping[str, Any] = field(default_factory=dict)
    title: str | None = None
    homepage: str | None = None
    citation: str | None = None
    licence: str | None = None
    note: str | None = None
