"""`nfft look`: a sheet of training images as the network will see them, with the classes it is to tell in them."""

import argparse
from pathlib import Path

from nfft.cli.arguments import add_method, add_run, new_parser, run_config_of
from nfft.cli.errors import run_command
from nfft.cli.imports import lasting_imports
from nfft.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft look`."""
    command = new_parser("look")
    add_method(add_run(command))
    where = command.add_argument_group("where")
    where.add_argument("--images", type=_even, default=24, help="an even number of images (default: %(default)s)")
    where.add_argument("--output", type=Path, default=Path("look.png"), help="a PNG (default: %(default)s)")
    return command


def main(arguments: list[str] | None = None) -> int:
    return run_command(look, parser().parse_args(arguments))


def look(options: argparse.Namespace) -> int:
    """Write the first images of the run that the options describe, augmented and mixed."""
    with lasting_imports():
        from nfft.reporting.plots.figure import save_figure
        from nfft.training.preview import preview

    if options.output.is_dir():
        raise UserError(f"--output {options.output} is a folder. Name a file, such as {options.output / 'look.png'}.")
    plan, figure = preview(run_config_of(options), options.images)
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, options.output)
    except OSError as error:
        where = error.filename or options.output
        raise UserError(
            f"--output {options.output} cannot be written ({where}: {error.strerror}). Choose another."
        ) from error
    for line in plan.notes:
        print(line)
    count = min(options.images, plan.recipe.batch_size)
    print(f"{count} of the first {plan.recipe.batch_size} training images: {options.output}")
    return 0


def _even(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 2 or number % 2:
        raise argparse.ArgumentTypeError(f"expected an even number, because neighbours are mixed; got {text}")
    return number
