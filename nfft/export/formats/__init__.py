"""The kinds of file that a network is exported to, one module each: what `--format` calls it is the module's name.

Each holds the network as a graph for images of one size and batches of any, and facts as JSON: the names of the
classes, and how a picture becomes the input. A module declares FORMAT; adding one adds the format.
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from nfft.config import registry
from nfft.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Normalized images (n, 3, side, side) -> logits (n, classes).
Answer: TypeAlias = "Callable[[Tensor], Tensor]"
INPUT, OUTPUT = "pixel_values", "logits"
# What every file of ours says of itself.
FACTS = ("model", "labels", "preprocessing")
# Images that a graph is traced with: torch takes one for a constant.
TRACED = 2
# Images of the largest batch; without an end, torch 2.7 finds one by itself and refuses it.
LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        title: for people.
        ending: of the file's name.
        runtime: what computes it.
        packages: that it takes to write and run, beyond torch.
        write: (network for inference, px on a side, facts, path) -> the file, and perhaps one named as `beside` says.
        open: a path -> a function of normalized images to logits.
        facts: a path -> the facts in it; raises anything when it is none of this kind.
    """

    title: str
    ending: str
    runtime: str
    packages: tuple[str, ...]
    write: Callable[["nn.Module", int, Mapping[str, str], Path], None]
    open: Callable[[Path], Answer]
    facts: Callable[[Path], Mapping[str, str]]

    def check_installed(self) -> None:
        """See that what it takes is there.

        Raises:
            UserError: naming what is missing, and the command that installs it.
        """
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(
                f"exporting to {self.title} needs {', '.join(missing)}, not installed here. "
                f"Install what is missing: pip install {' '.join(missing)}"
            )

    def is_ours(self, path: Path) -> bool:
        """Whether a file is one that was exported before; nothing in it is executed."""
        try:
            return self.facts(path).keys() >= set(FACTS)
        # A file of another kind fails as anything in the parsers.
        except Exception:
            return False


def names() -> list[str]:
    """What `--format` takes."""
    return registry.names("export.formats")


def find_format(name: str) -> Format:
    """The format in the module of this name."""
    return importlib.import_module(f"{__name__}.{name}").FORMAT


def beside(path: Path) -> Path:
    """Where the weights lie of a file that is too large for one."""
    return path.with_name(f"{path.name}.data")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' warnings about themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
