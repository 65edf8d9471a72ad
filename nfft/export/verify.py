"""An exported file beside the network it was made of: answers, speed, size."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nfft.auto import AutoNFNet
from nfft.errors import UserError
from nfft.export.facts import facts_of
from nfft.export.formats import Answer, Format, beside

# The largest difference of logits from the network's that passes, as a share of the range of the network's.
TOLERANCE = 1e-4
# Images in the batches that are compared: other sizes than the one that the graph is traced with.
BATCHES = (1, 3, 4)
TIMED = 5


@dataclass(frozen=True)
class Agreement:
    """The largest difference of a file's logits from the network's, and the range of the network's."""

    difference: float
    spread: float

    def __str__(self) -> str:
        return f"logits differ by {self.difference:.1e} from the network's, whose range is {self.spread:.3g}"


@contextmanager
def stage(output: Path) -> Iterator[Path]:
    """A folder beside `output` for what is not finished; what is left in it goes with it.

    Raises:
        UserError: when it cannot be made.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise UserError(
            f"--output {output} cannot be written: {output.parent} is no folder that can be written to "
            f"({error.strerror}). Choose another."
        ) from error
    with folder as name:
        yield Path(name)


@contextmanager
def in_words(classifier: AutoNFNet, side: int) -> Iterator[None]:
    """Puts in a sentence what exporters raise about networks that they cannot read, which is anything."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{classifier.checkpoint.title} cannot be exported for images of {side} px: {reason} "
            "(NFFT_DEBUG=1 shows where)"
        ) from error


@torch.no_grad()
def write_export(classifier: AutoNFNet, kind: Format, side: int, path: Path) -> tuple[Answer, Agreement]:
    """Write the folded network, read the file again, and see that it answers as the network itself does.

    Returns:
        What the file answers, and how near that is.

    Raises:
        UserError: when it is not near enough.
    """
    batches = [noise(count, side) for count in BATCHES]
    wanted = [classifier(images) for images in batches]
    kind.write(classifier.folded(), side, facts_of(classifier, side), path)
    answer = kind.open(path)
    difference = float((torch.cat([answer(images) for images in batches]) - torch.cat(wanted)).abs().max())
    agreement = Agreement(difference, max(float(logits.max() - logits.min()) for logits in wanted))
    # Also false when there are logits that are no numbers.
    if not agreement.difference <= TOLERANCE * agreement.spread:
        raise UserError(
            f"the exported file was deleted: in {kind.runtime} its logits differ from the network's by "
            f"{agreement.difference:.1e}, their range is {agreement.spread:.3g}. Allowed are {TOLERANCE:.0e} of it."
        )
    return answer, agreement


def noise(count: int, side: int) -> Tensor:
    """Images (count, 3, side, side) as if they were normalized."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))


@torch.no_grad()
def seconds_of(answer: Answer, side: int) -> float:
    """Time for one image, as the fastest of a few."""
    image, times = noise(1, side), []
    for _ in range(TIMED):
        began = time.perf_counter()
        answer(image)
        times.append(time.perf_counter() - began)
    return min(times)


def threads() -> int:
    """On how many the times are."""
    return torch.get_num_threads()


def size_of(path: Path) -> int:
    """Bytes of a file, with the one beside it."""
    return sum(file.stat().st_size for file in (path, beside(path)) if file.is_file())
