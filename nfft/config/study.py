"""A study: a question that many runs answer together."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from nfft.errors import UserError

# Settings of a run by name: an option of `nfft finetune`, or what its --set takes.
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Pretrained:
    """A network that the study trains itself before it is fine-tuned, once with each seed.

    Attributes:
        name: of its folder.
        settings: of that training.
    """

    name: str
    settings: Settings


@dataclass(frozen=True)
class Study:
    """What a file in `studies/` declares as STUDY: a run for each row, column and seed of a table.

    Attributes:
        name, title: of it.
        question: what it asks, in a sentence or two.
        rows, columns: settings by row and by column, under the names that the table has; `model` may be a Pretrained.
            A setting of a column is taken over that of a row, and either over those that all runs share.
        shared: settings of all runs.
        pairs: rows that are compared seed by seed, the first being what the second is held against.
        row_label: what the rows are, for the head of the table.
        paper: the paper's result, as Markdown, with where it stands.
        budget: how long it takes, on what, with three seeds.
        weights: "kept" for the top-1 on test of the weights that validation chose; "ema" for that on validation of the
            averaged ones, chosen or not.
    """

    name: str
    title: str
    question: str
    rows: Mapping[str, Settings]
    columns: Mapping[str, Settings]
    shared: Settings
    pairs: tuple[tuple[str, str], ...]
    row_label: str
    paper: str
    budget: str
    weights: str = "kept"

    def __post_init__(self) -> None:
        if self.weights not in ("kept", "ema"):
            raise UserError(f"study {self.name}: weights must be kept or ema; got {self.weights!r}.")
        for name in (name for pair in self.pairs for name in pair):
            if name not in self.rows:
                raise UserError(f"study {self.name}: its pairs name {name!r}, which is no row.")
        for names in (self.rows, self.columns):
            if len({slug(name) for name in names} - {""}) < len(names):
                raise UserError(
                    f"study {self.name}: each row and column needs a name of its own, of letters or digits: they name "
                    f"folders; got {', '.join(map(repr, names))}."
                )
        for row, column in product(self.rows.values(), self.columns.values()):
            if missing := {"task", "model"} - {**self.shared, **row, **column}.keys():
                raise UserError(f"study {self.name}: its runs need a {' and a '.join(sorted(missing))}.")


def slug(name: str) -> str:
    """A name as a folder's."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")
