"""`nfft look`: a sheet of training images as the network will see them, with the classes it is to tell in them."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nfft.cli.arguments import add_method, add_run, new_parser, run_config_of
from nfft.cli.errors import run_command
from nfft.errors import UserError

if TYPE_CHECKING:
    from nfft.data.loader import Batch


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
    from nfft.data.loader import Collate, MicroBatches, TrainImages
    from nfft.reporting.plots.figure import save_figure
    from nfft.reporting.plots.images import plot_images
    from nfft.training.plan import make_plan

    if options.output.is_dir():
        raise UserError(f"--output {options.output} is a folder. Name a file, such as {options.output / 'look.png'}.")
    plan = make_plan(run_config_of(options))
    recipe, seed = replace(plan.recipe, accumulation_steps=1), plan.config.seed
    keys = next(iter(MicroBatches(len(plan.data.train), recipe, seed, steps=range(1))))[: options.images]
    images = TrainImages(plan.data.train, recipe, seed)
    batch = Collate(recipe)([images[key] for key in keys])
    title = f"{plan.task.name}, {options.recipe}: {recipe.train_resolution} px, seed {seed}"
    pictures = batch.images.permute(0, 2, 3, 1).numpy()
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        save_figure(plot_images(pictures, captions(batch, plan.data.classes), title), options.output)
    except OSError as error:
        where = error.filename or options.output
        raise UserError(
            f"--output {options.output} cannot be written ({where}: {error.strerror}). Choose another."
        ) from error
    for line in plan.notes:
        print(line)
    print(f"{len(keys)} of the first {recipe.batch_size} training images: {options.output}")
    return 0


def captions(batch: "Batch", classes: list[str]) -> list[str]:
    """The classes of each image; with their shares, a line each."""
    texts = []
    for label, partner, ratio in zip(
        batch.labels.tolist(), batch.partners.tolist(), batch.ratios.tolist(), strict=True
    ):
        shares = {label: ratio, partner: 1 - ratio} if label != partner else {label: 1.0}
        texts.append("\n".join(f"{share:.0%} {classes[index]}" for index, share in shares.items() if share >= 0.005))
    return texts


def _even(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 2 or number % 2:
        raise argparse.ArgumentTypeError(f"expected an even number, because neighbours are mixed; got {text}")
    return number
