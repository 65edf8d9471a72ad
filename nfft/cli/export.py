"""`nfft export`: a network as a file that runs without nfft, in onnxruntime or as torch.export leaves it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nfft.cli.arguments import add_task_settings, between, new_parser
from nfft.cli.errors import run_command
from nfft.config.overrides import read_task
from nfft.config.run_config import split_pairs
from nfft.errors import UserError
from nfft.files import expanded

if TYPE_CHECKING:
    from nfft.auto import AutoNFNet
    from nfft.export.formats import Answer, Format
    from nfft.export.int8 import Pictures

from nfft.export.verify import in_words, quantize_export, report_speed, size_of, stage, write_export

EPILOG = """batches may be of any size; height and width are fixed in the file: padding follows from them, and a graph
with both left open takes minutes to make. Labels and preprocessing are in the file, as JSON.
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft export`."""
    made = new_parser("export", EPILOG)
    made.add_argument("model", metavar="RUN", help="a run's folder, a checkpoint's id on the Hub, or nfnet-nano")
    made.add_argument("--revision", help="a branch, tag or commit of the model's repository")
    made.add_argument("--format", choices=["onnx", "torch"], default="onnx", help="(default: %(default)s)")
    made.add_argument("--output", type=Path, help="(default: RUN/model.onnx or .pt2; NAME.onnx for one of the Hub)")
    made.add_argument("--resolution", type=between(8, 4096), help="px of the images (default: the checkpoint's)")
    made.add_argument("--int8", action="store_true", help="8-bit integers, calibrated and scored on images of --task")
    made.add_argument("--task", help="for --int8: as for nfft finetune")
    add_task_settings(made)
    return made


def main(arguments: list[str] | None = None) -> int:
    return run_command(export, parser().parse_args(arguments))


def export(given: argparse.Namespace) -> int:
    """Write the file under another name, compare it with the network, and give it its name once it agrees."""
    from nfft.auto import AutoNFNet
    from nfft.export.formats import FORMATS, beside
    from nfft.models.build import check_side

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
            answers[kind.runtime] = write_export(classifier, kind, side, file)
            was = ""
        else:
            exact = folder / f"float-{output.name}"
            answers[kind.runtime] = write_export(classifier, kind, side, exact)
            answers["int8"] = quantize_export(exact, file, pictures, answers[kind.runtime], kind)
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
    from nfft.models.resolve import PACKAGED

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
    from nfft.export.formats import beside

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
    from nfft.export.int8 import Pictures

    pictures = Pictures(read_task(given.task, split_pairs(given.set, "--set")), classifier, side)
    for note in pictures.notes:
        print(note, file=sys.stderr)
    return pictures


def announce(classifier: "AutoNFNet", side: int) -> None:
    """Say what will be exported: large networks take a while."""
    checkpoint = classifier.checkpoint
    millions = sum(parameter.numel() for parameter in classifier.network.parameters()) / 1e6
    what = f"{checkpoint.architecture}, {millions:.2f} M parameters, {len(classifier.labels)} classes"
    print(f"model       {checkpoint.title}: {what}, images of {side} px", flush=True)
