"""What every source of labelled images is opened as."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from nfft.data.decode import Raw


class Table(Protocol):
    """One split: its class names, labels and images."""

    def __len__(self) -> int: ...

    def class_names(self) -> list[str]: ...

    def labels(self, classes: list[str]) -> np.ndarray | None:
        """Indices into `classes`, shape (n,), int64; None where the labels are hidden."""

    def images(self) -> Sequence[Raw]: ...

    def fingerprint(self) -> str | None:
        """Changes when the images do; None where nothing could be broken."""
