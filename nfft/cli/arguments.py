"""Arguments that several commands take."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields

from nfft.cli import COMMANDS
from nfft.config import registry
from nfft.config.run_config import PACKAGED, PRECISIONS, RunConfig, read_model_args, split_pairs
from nfft.config.views import SINGLE, VIEWS
from nfft.text import shorten


def new_parser(name: str, epilog: str = "") -> argparse.ArgumentParser:
    """The parser of one of COMMANDS, with no arguments yet."""
    return argparse.ArgumentParser(
        prog=f"nfft {name}",
        description=COMMANDS[name],
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_run(parser: argparse.ArgumentParser, *, several_shots: bool = False) -> argparse._ArgumentGroup:
    """The options that describe a run; returns the group of those that say how it is done.

    Args:
        several_shots: let --shots have several numbers, which are the option `several_shots` of what is parsed.
    """
    what = parser.add_argument_group("what")
    what.add_argument(
        "--task",
        required=True,
        help="a task's name, a task file, a folder of images, a CSV, TSV or Parquet file, or a dataset id on the Hub",
    )
    what.add_argument(
        "--model",
        default=PACKAGED,
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
        "--teacher",
        metavar="MODEL",
        help="a run's folder, or another model that tells the task's classes apart: its probabilities are learned "
        "beside the labels, and are the targets of the images in --set task.unlabelled=FOLDER",
    )
    if several_shots:
        what.add_argument(
            "--shots", type=counts, default=[], dest="several_shots", metavar="K,K",
            help="train on K images of each class, drawn by the seed; with several numbers, on each: a learning curve",
        )  # fmt: skip
    else:
        what.add_argument(
            "--shots", type=at_least(1), metavar="K", help="train on K images of each class, drawn by the seed"
        )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--recipe",
        default="auto",
        help=f"{listed_names('recipes')} (default: %(default)s)",
    )
    duration = how.add_mutually_exclusive_group()
    duration.add_argument("--steps", help="optimizer steps in all")
    duration.add_argument("--epochs", help="passes over the training images")
    duration.add_argument(
        "--minutes", help="what the whole run may take, scores and card included: it takes the steps that fit"
    )
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


def listed_names(kind: str) -> str:
    return ", ".join(name.replace("_", "-") for name in registry.names(kind))


def add_method(how: argparse._ArgumentGroup) -> None:
    """The options for what of the network is trained, and from which seed."""
    how.add_argument(
        "--method",
        default="full",
        help=f"what is trained: {listed_names('methods')} (default: %(default)s)",
    )
    how.add_argument("--seed", type=int, default=0, help="of order, augmentation and new weights (default: 0)")


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, help="a run's folder, a checkpoint's id on the Hub or its folder, or nfnet-nano"
    )
    parser.add_argument("--revision", help="a branch, tag or commit of the model's repository")


def add_views(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--views",
        choices=VIEWS,
        default=SINGLE,
        help="average the probabilities of a picture and its mirror (flip, twice the time), of five crops (crops, five "
        "times) or of those and their mirrors (crops-flip, ten times) (default: %(default)s)",
    )


def add_task_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="task.FIELD=VALUE", help="a setting of the task")


def add_precision(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="(default: bf16 where the device is fast at it, else fp32)",
    )


def add_seeds(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--seeds", type=between(1, 1000), default=3, help="runs of each, from seed 0 on (default: %(default)s)"
    )


def add_private(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--private", action="store_true", default=None, help="a new repository is private")


def at_least(least: int) -> Callable[[str], int]:
    """Reads a whole number that is not below `least`."""
    return between(least, sys.maxsize)


def between(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number of `least` to `most`."""
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


def counts(text: str) -> list[int]:
    """Reads whole numbers of at least 1 with commas between them: ascending, each once."""
    try:
        return sorted({at_least(1)(part) for part in text.split(",")})
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers of at least 1 with commas between them, such as 1,2,5; got {shorten(text, 80)}"
        ) from error


def run_config_of(options: argparse.Namespace) -> RunConfig:
    """The config that the options of a run describe; those that a command lacks keep their defaults.

    Raises:
        UserError: for an option that is not NAME=VALUE, or a seed out of range.
    """
    plain = {entry.name for entry in fields(RunConfig)} - {"model_args", "settings"}
    return RunConfig(
        **{name: getattr(options, name) for name in plain if hasattr(options, name)},
        model_args=read_model_args(options.model_arg),
        settings=settings_of(options),
    )


def settings_of(options: argparse.Namespace) -> dict[str, str]:
    """Settings by name: those of --set, and those with an option of their own."""
    own = {"total_steps": options.steps, "batch_size": options.batch_size}
    own |= {name: getattr(options, name) for name in ("epochs", "minutes", "lr")}
    return {**split_pairs(options.set, "--set"), **{name: text for name, text in own.items() if text is not None}}
