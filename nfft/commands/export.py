"""`nfft export`: a network as a file that runs without nfft, in onnxruntime or as torch.export leaves it."""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nfft import command, options, settings
from nfft.errors import UserError
from nfft.files import expanded
from nfft.request import pairs

if TYPE_CHECKING:
    from torch import Tensor

    from nfft.auto import AutoNFNet
    from nfft.formats import Answer, Format
    from nfft.quantisation import Pictures

# The largest difference of logits from the network's that passes, as a share of the range of the network's.
TOLERANCE = 1e-4
# Images in the batches that are compared: other sizes than the one that the graph is traced with.
BATCHES = (1, 3, 4)
TIMED = 5


PURPOSE = "Write a network as a file that runs without nfft, checked against torch."
EPILOG = """batches may be of any size; height and width are fixed in the file: padding follows from them, and a graph
with both left open takes minutes to make. Labels and preprocessing are in the file, as JSON.
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft export`."""
    made = options.described("export", PURPOSE, EPILOG)
    made.add_argument("model", metavar="RUN", help="a run's folder, a checkpoint's id on the Hub, or nfnet-nano")
    made.add_argument("--revision", help="a branch, tag or commit of the model's repository")
    made.add_argument("--format", choices=["onnx", "torch"], default="onnx", help="(default: %(default)s)")
    made.add_argument("--output", type=Path, help="(default: RUN/model.onnx or .pt2; NAME.onnx for one of the Hub)")
    made.add_argument(
        "--resolution", type=options.between(8, 4096), help="px of the images (default: the checkpoint's)"
    )
    made.add_argument("--int8", action="store_true", help="8-bit integers, calibrated and scored on images of --task")
    made.add_argument("--task", help="for --int8: as for nfft finetune")
    options.add_task_settings(made)
    return made


def main(arguments: list[str] | None = None) -> int:
    return command.run(export, parser().parse_args(arguments))


def export(given: argparse.Namespace) -> int:
    """Write the file under another name, compare it with the network, and give it its name once it agrees."""
    from nfft.auto import AutoNFNet
    from nfft.formats import FORMATS, beside
    from nfft.model import check_side

    check_combination(given)
    kind = FORMATS[given.format]
    kind.check_installed()
    output = given.output or default_output(given, kind)
    check_place(output, kind)
    classifier = AutoNFNet.from_pretrained(given.model, revision=given.revision)
    side = given.resolution or classifier.checkpoint.test_side
    check_side(classifier.network, classifier.checkpoint.architecture, side, "--resolution ")
    pictures = pictures_of(given, classifier, side) if given.int8 else None
    announce(classifier, side)
    with stage(output) as folder, in_words(classifier, side):
        file = folder / output.name
        answers: dict[str, Answer] = {"torch": classifier.folded()}
        if pictures is None:
            answers[kind.runtime] = write(classifier, kind, side, file)
            was = ""
        else:
            exact = folder / f"float-{output.name}"
            answers[kind.runtime] = write(classifier, kind, side, exact)
            answers["int8"] = quantise(exact, file, pictures, answers[kind.runtime], kind)
            was = f", in place of {size_of(exact)}"
        report_speed(answers, side)
        said = [f"written to  {output}: {size_of(file)}{was}"]
        if beside(file).is_file():
            beside(file).replace(beside(output))
            said.append(
                f"            its weights are in {beside(output).name}, to be kept beside it: ONNX ends at 2 GiB"
            )
        file.replace(output)
    print("\n".join(said))
    return 0


def check_combination(given: argparse.Namespace) -> None:
    """See that what was asked for goes together.

    Raises:
        UserError: naming what does not.
    """
    if given.int8 and given.format != "onnx":
        raise UserError(f"--int8 goes with --format onnx; got {given.format}. Leave one of them out.")
    if given.int8 and given.task is None:
        raise UserError(
            "--int8 needs --task: images as the network will see them, to find the range of its activations and to "
            "measure what it loses."
        )
    if not given.int8 and (given.task is not None or given.set):
        raise UserError("--task and --set go with --int8, which alone looks at images. Leave them out.")


def default_output(given: argparse.Namespace, kind: "Format") -> Path:
    """RUN/model.onnx, or NAME.onnx here for what is no folder of the user's."""
    from nfft.hub import PACKAGED

    folder = expanded(given.model)
    is_folder = given.model != PACKAGED and folder.is_dir()
    stem = "model" if is_folder else given.model.rstrip("/").split("/")[-1]
    name = f"{stem}{'-int8' if given.int8 else ''}{kind.ending}"
    return folder / name if is_folder else Path(name)


def check_place(output: Path, kind: "Format") -> None:
    """See, before any work, that what will be written replaces no more than an earlier export.

    Raises:
        UserError: naming the place and what is wrong with it.
    """
    from nfft.formats import beside

    if output.is_dir():
        raise UserError(f"--output {output} is a folder. Name a file, such as {output / f'model{kind.ending}'}.")
    if output.suffix != kind.ending:
        raise UserError(f"--output {output}: expected a name that ends in {kind.ending}.")
    if output.exists() and not kind.is_ours(output):
        raise UserError(f"--output {output} is there already, and is no export of nfft's. Choose another name.")
    if beside(output).exists() and not output.exists():
        raise UserError(f"{beside(output)} is there already, and would be replaced. Choose another --output.")


def pictures_of(given: argparse.Namespace, classifier: "AutoNFNet", side: int) -> "Pictures":
    """The images of the task that was named."""
    from nfft.quantisation import Pictures

    return Pictures(settings.read_task(given.task, pairs(given.set, "--set")), classifier, side)


def announce(classifier: "AutoNFNet", side: int) -> None:
    """Say what will be exported: large networks take a while."""
    checkpoint = classifier.checkpoint
    millions = sum(parameter.numel() for parameter in classifier.network.parameters()) / 1e6
    what = f"{checkpoint.architecture}, {millions:.2f} M parameters, {len(classifier.labels)} classes"
    print(f"model       {checkpoint.title}: {what}, images of {side} px", flush=True)


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


def write(classifier: "AutoNFNet", kind: "Format", side: int, path: Path) -> "Answer":
    """Write the folded network, read the file again, and see that it answers as the network itself does.

    Raises:
        UserError: when it does not.
    """
    import torch

    from nfft.formats import facts_of

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


def quantise(exact: Path, file: Path, pictures: "Pictures", float_answer: "Answer", kind: "Format") -> "Answer":
    """Write the network in `exact` in 8-bit integers, and say what that costs."""
    from nfft import quantisation

    calibrated = quantisation.quantise(exact, file, pictures)
    answer = kind.open(file)
    cost = quantisation.cost(float_answer, answer, pictures)
    print(f"int8        ranges of activations from {calibrated:,} train images")
    print(
        f"top-1       {cost.before:.2%} in float, {cost.after:.2%} in int8, the same class in {cost.agreement:.1%} of "
        f"{cost.count:,} {cost.split} images"
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
    from nfft.formats import beside

    size = sum(each.stat().st_size for each in (path, beside(path)) if each.is_file())
    return f"{size / 2**20:.1f} MiB"
