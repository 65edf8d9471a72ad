"""`nfft export`: a network as a file that runs without nfft, in onnxruntime or as torch.export leaves it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nfft.cli.arguments import add_task_settings, between, new_parser
from nfft.cli.errors import run_command
from nfft.cli.imports import lasting_imports
from nfft.config.overrides import read_task
from nfft.config.run_config import PACKAGED, split_pairs
from nfft.errors import UserError
from nfft.export import formats
from nfft.export.formats import Answer, Format, beside
from nfft.files import expanded

if TYPE_CHECKING:
    from nfft.auto import AutoNFNet

EPILOG = """batches may be of any size; height and width are fixed in the file: padding follows from them, and a graph
with both left open takes minutes to make. Labels and preprocessing are in the file, as JSON.
"""


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft export`."""
    command = new_parser("export", EPILOG)
    command.add_argument("model", metavar="RUN", help="a run's folder, a checkpoint's id on the Hub, or nfnet-nano")
    command.add_argument("--revision", help="a branch, tag or commit of the model's repository")
    command.add_argument("--format", choices=formats.names(), default="onnx", help="(default: %(default)s)")
    command.add_argument("--output", type=Path, help="(default: RUN/model.onnx or .pt2; NAME.onnx for one of the Hub)")
    command.add_argument("--resolution", type=between(8, 4096), help="px of the images (default: the checkpoint's)")
    command.add_argument(
        "--int8", action="store_true", help="8-bit integers, calibrated and scored on images of --task"
    )
    command.add_argument("--task", help="for --int8: as for nfft finetune")
    add_task_settings(command)
    return command


def main(arguments: list[str] | None = None) -> int:
    return run_command(export, parser().parse_args(arguments))


def export(options: argparse.Namespace) -> int:
    """Write the file under another name, compare it with the network, and give it its name once it agrees."""
    with lasting_imports():
        from nfft.auto import AutoNFNet
        from nfft.export import int8, verify
        from nfft.models.build import check_side

    check_combination(options)
    kind = formats.find_format(options.format)
    kind.check_installed()
    output = options.output or default_output(options, kind)
    check_place(output, kind)
    classifier = AutoNFNet.from_pretrained(options.model, revision=options.revision)
    side = options.resolution or classifier.checkpoint.test_side
    check_side(classifier.network, classifier.checkpoint.architecture, side, "--resolution ")
    pictures = None
    if options.int8:
        pictures = int8.Pictures(read_task(options.task, split_pairs(options.set, "--set")), classifier, side)
        for note in pictures.notes:
            print(note, file=sys.stderr)
    announce(classifier, side)
    with verify.stage(output) as folder, verify.in_words(classifier, side):
        file = folder / output.name
        exact = file if pictures is None else folder / f"float-{output.name}"
        answers: dict[str, Answer] = {"torch": classifier.folded()}
        answers[kind.runtime], near = verify.write_export(classifier, kind, side, exact)
        print(f"checked     {near}", flush=True)
        if pictures is not None:
            calibrated = int8.quantize(exact, file, pictures)
            answers["int8"] = kind.open(file)
            print(f"int8        ranges of activations from {calibrated:,} train images")
            print(f"top-1       {int8.cost(answers[kind.runtime], answers['int8'], pictures)}")
        times = [f"{1000 * verify.seconds_of(answer, side):.1f} ms in {name}" for name, answer in answers.items()]
        print(f"one image   {', '.join(times)}, on a CPU, threads: {verify.threads()}")
        was = f", in place of {mebibytes(verify.size_of(exact))}" if pictures is not None else ""
        lines = [f"written to  {output}: {mebibytes(verify.size_of(file))}{was}"]
        if beside(file).is_file():
            beside(file).replace(beside(output))
            lines.append(
                f"            its weights are in {beside(output).name}, to be kept beside it: ONNX ends at 2 GiB"
            )
        file.replace(output)
    print("\n".join(lines))
    return 0


def mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def check_combination(options: argparse.Namespace) -> None:
    """See that what was asked for goes together.

    Raises:
        UserError: naming what does not.
    """
    if options.int8 and options.format != "onnx":
        raise UserError(f"--int8 goes with --format onnx; got {options.format}. Leave one of them out.")
    if options.int8 and options.task is None:
        raise UserError(
            "--int8 needs --task: images as the network will see them, to find the range of its activations and to "
            "measure what it loses."
        )
    if not options.int8 and (options.task is not None or options.set):
        raise UserError("--task and --set go with --int8, which alone looks at images. Leave them out.")


def default_output(options: argparse.Namespace, kind: Format) -> Path:
    """RUN/model.onnx, or NAME.onnx here for what is no folder of the user's."""
    folder = expanded(options.model)
    is_folder = options.model != PACKAGED and folder.is_dir()
    stem = "model" if is_folder else options.model.rstrip("/").split("/")[-1]
    name = f"{stem}{'-int8' if options.int8 else ''}{kind.ending}"
    return folder / name if is_folder else Path(name)


def check_place(output: Path, kind: Format) -> None:
    """See, before any work, that what will be written replaces no more than an earlier export.

    Raises:
        UserError: naming the place and what is wrong with it.
    """
    if output.is_dir():
        raise UserError(f"--output {output} is a folder. Name a file, such as {output / f'model{kind.ending}'}.")
    if output.suffix != kind.ending:
        raise UserError(f"--output {output}: expected a name that ends in {kind.ending}.")
    if output.exists() and not kind.is_ours(output):
        raise UserError(f"--output {output} is there already, and is no export of nfft's. Choose another name.")
    if beside(output).exists() and not output.exists():
        raise UserError(f"{beside(output)} is there already, and would be replaced. Choose another --output.")


def announce(classifier: "AutoNFNet", side: int) -> None:
    """Say what will be exported: large networks take a while."""
    checkpoint = classifier.checkpoint
    millions = sum(parameter.numel() for parameter in classifier.network.parameters()) / 1e6
    what = f"{checkpoint.architecture}, {millions:.2f} M parameters, {len(classifier.labels)} classes"
    print(f"model       {checkpoint.title}: {what}, images of {side} px", flush=True)
