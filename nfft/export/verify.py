"""An exported file beside the network it was made of: answers, speed, size."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nfft.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from nfft.auto import AutoNFNet
    from nfft.export.formats import Answer, Format
    from nfft.export.int8 import Pictures


# The largest difference of logits from the network's that passes, as a share of the range of the network's.
TOLERANCE = 1e-4
# Images in the batches that are compared: other sizes than the one that the graph is traced with.
BATCHES = (1, 3, 4)
TIMED = 5


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
def in_words(classifier: "AutoNFNet", side: int) -> Iterator[None]:
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


def write_export(classifier: "AutoNFNet", kind: "Format", side: int, path: Path) -> "Answer":
    """Write the folded network, read the file again, and see that it answers as the network itself does.

    Raises:
        UserError: when it does not.
    """
    import torch

    from nfft.export.formats import facts_of

    batches = [noise(count, side) for count in BATCHES]
    with torch.no_grad():
        wanted = [classifier(images) for images in batches]
        kind.write(classifier.folded(), side, facts_of(classifier, side), path)
        answer = kind.open(path)
        found = [answer(images) for images in batches]
    spread = max(float(logits.max() - logits.min()) for logits in wanted)
    difference = float((torch.cat(found) - torch.cat(wanted)).abs().max())
    # Also false when there are logits that are no numbers.
    if not difference <= TOLERANCE * spread:
        raise UserError(
            f"the exported file was deleted: in {kind.runtime} its logits differ from the network's by "
            f"{difference:.1e}, their range is {spread:.3g}. Allowed are {TOLERANCE:.0e} of it."
        )
    print(f"checked     logits differ by {difference:.1e} from the network's, whose range is {spread:.3g}", flush=True)
    return answer


def noise(count: int, side: int) -> "Tensor":
    """Images (count, 3, side, side) as if they were normalised."""
    import torch

    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))


def quantize_export(exact: Path, file: Path, pictures: "Pictures", float_answer: "Answer", kind: "Format") -> "Answer":
    """Write the network in `exact` in 8-bit integers, and say what that costs."""
    from nfft.export.int8 import cost, quantize

    calibrated = quantize(exact, file, pictures)
    answer = kind.open(file)
    lost = cost(float_answer, answer, pictures)
    print(f"int8        ranges of activations from {calibrated:,} train images")
    print(
        f"top-1       {lost.before:.2%} in float, {lost.after:.2%} in int8, the same class in {lost.agreement:.1%} of "
        f"{lost.count:,} {lost.split} images"
    )
    return answer


def report_speed(answers: dict[str, "Answer"], side: int) -> None:
    """Say how long each takes for one image, as the fastest of a few."""
    import torch

    image, texts = noise(1, side), []
    with torch.no_grad():
        for name, answer in answers.items():
            times = []
            for _ in range(TIMED):
                began = time.perf_counter()
                answer(image)
                times.append(time.perf_counter() - began)
            texts.append(f"{1000 * min(times):.1f} ms in {name}")
    print(f"one image   {', '.join(texts)}, on a CPU, threads: {torch.get_num_threads()}")


def size_of(path: Path) -> str:
    """Of a file, with the one beside it, for people."""
    from nfft.export.formats import beside

    size = sum(each.stat().st_size for each in (path, beside(path)) if each.is_file())
    return f"{size / 2**20:.1f} MiB"
