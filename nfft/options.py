"""The arguments of every command."""

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

EXAMPLES = """examples:
  nfft finetune --task digits
  nfft finetune --task photos/ --model timm/dm_nfnet_f0.dm_in1k --output-dir runs/photos
  nfft finetune --task flowers102 --set dropout=0.25 --set label_smoothing=0
an interrupted run goes on with the same command and --resume
"""
COMPARE = """a setting of one method bears its name: --set lora.rank=16
interrupted, or run again with more seeds or methods, it runs what is missing
"""
STUDY = """interrupted, or run again with more seeds, it runs what is missing. The same command in another process, on
this machine or one that shares the folder, takes runs that no other is at. Without a shared folder, --only 'nf-*'
chooses runs; with the folders put together, the command writes the table of all.
"""
EXPORT = """batches may be of any size; height and width are fixed in the file: padding follows from them, and a graph
with both left open takes minutes to make. Labels and preprocessing are in the file, as JSON.
"""
METHODS = ["probe", "head-and-gains", "lora", "last-stages", "full"]


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft finetune`."""
    made = _described(
        "finetune", "Fine-tune a Normalizer-Free network on labelled images, as its authors did.", EXAMPLES
    )
    how = _add_run(made)
    _add_method(how)
    _add_precision(how)
    where = made.add_argument_group("where")
    where.add_argument("--output-dir", type=Path, help="the run folder (default: runs/TASK-MODEL)")
    where.add_argument("--resume", action="store_true", help="take up the run in the folder where it was left")
    share = made.add_argument_group("share")
    share.add_argument("--push-to", metavar="USER/NAME", help="a repository of the Hub that the run is put into")
    _add_private(share)
    return made


def look_parser() -> argparse.ArgumentParser:
    """The arguments of `nfft look`."""
    made = _described("look", "Write a sheet of the first training images of a run, as the network will see them.", "")
    _add_method(_add_run(made))
    where = made.add_argument_group("where")
    where.add_argument("--images", type=_even, default=24, help="an even number of images (default: %(default)s)")
    where.add_argument("--output", type=Path, default=Path("look.png"), help="a PNG (default: %(default)s)")
    return made


def compare_parser() -> argparse.ArgumentParser:
    """The arguments of `nfft compare`."""
    made = _described(
        "compare", "Fine-tune with several methods and seeds, and set the outcomes side by side.", COMPARE
    )
    how = _add_run(made)
    how.add_argument(
        "--methods", type=_names, default=METHODS, metavar="A,B", help="(default: " + ",".join(METHODS) + ")"
    )
    _add_seeds(how)
    _add_precision(how)
    where = made.add_argument_group("where")
    where.add_argument("--output-dir", type=Path, help="the folder of all runs (default: runs/compare-TASK-MODEL)")
    return made


def study_parser() -> argparse.ArgumentParser:
    """The arguments of `nfft study`."""
    made = _described("study", "Answer a question by many runs: a table over networks, data and seeds.", STUDY)
    made.add_argument("study", metavar="NAME", help="a file in studies/, by its name or its path")
    _add_seeds(made)
    made.add_argument(
        "--data", action="append", default=[], metavar="TASK=WHERE",
        help="what --task is given in place of a task's name: a folder, a file, another name; may be repeated",
    )  # fmt: skip
    made.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE",
        help="a setting of every run, or as pretraining.FIELD of those that others start from; may be repeated",
    )  # fmt: skip
    made.add_argument(
        "--minutes", type=_minutes, default=math.inf, metavar="M",
        help="stop after so long and save the run that is under way, on a machine that one has for minutes",
    )  # fmt: skip
    made.add_argument("--only", default="*", metavar="PATTERN", help="of the runs, those whose folders match")
    made.add_argument("--output-dir", type=Path, help="the folder of all runs (default: runs/NAME)")
    return made


def evaluate_parser() -> argparse.ArgumentParser:
    """The arguments of `nfft evaluate`."""
    made = _described("evaluate", "Score a checkpoint on a task, preprocessed as it is stored.", "")
    _add_model(made)
    made.add_argument("--task", required=True, help="as for nfft finetune")
    made.add_argument(
        "--split", choices=["train", "validation", "test", "all"], help="(default: test, or else validation)"
    )
    made.add_argument("--resolution", type=_between(8, 4096), help="px to test at (default: the checkpoint's)")
    _add_task_settings(made)
    _add_precision(made)
    made.add_argument("--output", type=Path, help="a JSON file (default: runs/evaluate-.../results.json)")
    made.add_argument("--add-to", type=Path, metavar="RUN", help="a run's folder, whose card is to show the scores")
    return made


def predict_parser() -> argparse.ArgumentParser:
    """The arguments of `nfft predict`."""
    made = _described("predict", "Name the most probable classes of pictures.", "")
    _add_model(made)
    made.add_argument("files", nargs="+", type=Path, metavar="FILE|FOLDER", help="pictures, and folders of them")
    made.add_argument("--top-k", type=_at_least(1), default=5, help="classes to name (default: %(default)s)")
    made.add_argument("--csv", type=Path, metavar="OUT", help="write a table instead of lines")
    made.add_argument("--batch-size", type=_at_least(1), default=32, help="pictures at once (default: %(default)s)")
    return made


def merge_parser() -> argparse.ArgumentParser:
    """The arguments of `nfft merge`."""
    made = _described("merge", "Make a whole network of an adapter and its base, which is fetched by itself.", "")
    made.add_argument("model", metavar="ADAPTER", help="a run's folder, or a repository on the Hub")
    made.add_argument("output", type=Path, help="a new folder")
    made.add_argument("--revision", help="a branch, tag or commit of the adapter's repository")
    return made


def export_parser() -> argparse.ArgumentParser:
    """The arguments of `nfft export`."""
    made = _described("export", "Write a network as a file that runs without nfft, checked against torch.", EXPORT)
    made.add_argument("model", metavar="RUN", help="a run's folder, a checkpoint's id on the Hub, or nfnet-nano")
    made.add_argument("--revision", help="a branch, tag or commit of the model's repository")
    made.add_argument("--format", choices=["onnx", "torch"], default="onnx", help="(default: %(default)s)")
    made.add_argument("--output", type=Path, help="(default: RUN/model.onnx or .pt2; NAME.onnx for one of the Hub)")
    made.add_argument("--resolution", type=_between(8, 4096), help="px of the images (default: the checkpoint's)")
    made.add_argument("--int8", action="store_true", help="8-bit integers, calibrated and scored on images of --task")
    made.add_argument("--task", help="for --int8: as for nfft finetune")
    _add_task_settings(made)
    return made


def push_parser() -> argparse.ArgumentParser:
    """The arguments of `nfft push`."""
    made = _described("push", "Put a run's network, card, results and plots on the Hub, as one commit.", "")
    made.add_argument("run", type=Path, help="a run's folder")
    made.add_argument("repository", help="user/name; made when there is none")
    _add_private(made)
    made.add_argument("--revision", help="a branch, made when there is none (default: main)")
    made.add_argument("--create-pr", action="store_true", help="propose the commit instead")
    return made


def card_parser() -> argparse.ArgumentParser:
    """The arguments of `nfft card`."""
    made = _described("card", "Write a run's README.md anew; sections written by hand stay.", "")
    made.add_argument("run", type=Path, help="a run's folder")
    return made


def _add_model(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--model", required=True, help="a run's folder, a checkpoint's id on the Hub or its folder, or nfnet-nano"
    )
    made.add_argument("--revision", help="a branch, tag or commit of the model's repository")


def _add_task_settings(made: argparse.ArgumentParser) -> None:
    made.add_argument("--set", action="append", default=[], metavar="task.FIELD=VALUE", help="a setting of the task")


def _add_precision(made: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    made.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="(default: bf16 where the device is fast at it, else fp32)",
    )


def _add_seeds(made: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    made.add_argument(
        "--seeds", type=_at_least(1), default=3, help="runs of each, from seed 0 on (default: %(default)s)"
    )


def _add_private(made: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    made.add_argument("--private", action="store_true", default=None, help="a new repository is private")


def _at_least(least: int) -> Callable[[str], int]:
    return _between(least, sys.maxsize)


def _between(least: int, most: int) -> Callable[[str], int]:
    expected = f"of at least {least}" if most == sys.maxsize else f"from {least} to {most}"

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number {expected}; got {text}")
        return number

    return read


def _minutes(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not number > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0; got {text}")
    return number


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"expected names with commas between them, each once; got {text}")
    return names


def _described(name: str, purpose: str, epilog: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"nfft {name}",
        description=purpose,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _even(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 2 or number % 2:
        raise argparse.ArgumentTypeError(f"expected an even number, because neighbours are mixed; got {text}")
    return number


def _add_run(made: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """What describes a run; returns the group for how it is done."""
    what = made.add_argument_group("what")
    what.add_argument(
        "--task",
        required=True,
        help="a task's name, a task file, a folder of images, a CSV, TSV or Parquet file, or a dataset id on the Hub",
    )
    what.add_argument(
        "--model",
        default="nfnet-nano",
        help="a checkpoint's id on the Hub, a run's folder, or scratch:<timm architecture> (default: %(default)s)",
    )
    what.add_argument(
        "--model-arg",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the timm architecture, with scratch: only; may be repeated",
    )
    what.add_argument(
        "--shots", type=_at_least(1), metavar="K", help="train on K images of each class, drawn by the seed"
    )
    how = made.add_argument_group("how")
    how.add_argument(
        "--recipe",
        default="auto",
        help="auto, paper-nfnet, paper-resnet, convnets-at-scale, imagenet or pretrain (default: %(default)s)",
    )
    duration = how.add_mutually_exclusive_group()
    duration.add_argument("--steps", help="optimizer steps in all")
    duration.add_argument("--epochs", help="passes over the training images")
    how.add_argument("--batch-size", help="images an optimizer step sees, over all processes")
    how.add_argument("--lr", help="peak learning rate")
    how.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any setting of the recipe, or as task.FIELD and method.FIELD of these; may be repeated",
    )
    return how


def _add_method(how: argparse._ArgumentGroup) -> None:
    how.add_argument(
        "--method",
        default="full",
        help="what is trained: full, layer-decay, last-stages, head-and-gains, lora or probe (default: %(default)s)",
    )
    how.add_argument("--seed", type=int, default=0, help="of order, augmentation and new weights (default: 0)")
