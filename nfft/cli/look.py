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


PURPOSE = "Write a sheet of the first training images of a run, as the network will see them."


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft look`."""
    made = new_parser("look", PURPOSE)
    add_method(add_run(made))
    where = made.add_argument_group("where")
    where.add_argument("--images", type=_even, default=24, help="an even number of images (default: %(default)s)")
    where.add_argument("--output", type=Path, default=Path("look.png"), help="a PNG (default: %(default)s)")
    return made


def main(arguments: list[str] | None = None) -> int:
    return run_command(look, parser().parse_args(arguments))


def look(given: argparse.Namespace) -> int:
    """Write the first images of the run that the arguments describe, augmented and mixed."""
    from nfft.data.loader import Collate, MicroBatches, TrainImages
    from nfft.reporting.plots.figure import save_figure
    from nfft.reporting.plots.images import plot_images
    from nfft.training.plan import make_plan

    if given.output.is_dir():
        raise UserError(f"--output {given.output} is a folder. Name a file, such as {given.output / 'look.png'}.")
    planned = make_plan(run_config_of(given))
    recipe, seed = replace(planned.recipe, accumulation_steps=1), planned.config.seed
    keys = next(iter(MicroBatches(len(planned.data.train), recipe, seed, steps=range(1))))[: given.images]
    images = TrainImages(planned.data.train, recipe, seed)
    batch = Collate(recipe)([images[key] for key in keys])
    title = f"{planned.task.name}, {given.recipe}: {recipe.train_resolution} px, seed {seed}"
    pictures = batch.images.permute(0, 2, 3, 1).numpy()
    try:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        save_figure(plot_images(pictures, captions(batch, planned.data.classes), title), given.output)
    except OSError as error:
        where = error.filename or given.output
        raise UserError(
            f"--output {given.output} cannot be written ({where}: {error.strerror}). Choose another."
        ) from error
    for line in planned.notes:
        print(line)
    print(f"{len(keys)} of the first {recipe.batch_size} training images: {given.output}")
    return 0


def captions(batch: "Batch", classes: list[str]) -> list[str]:
    """The classes of each image; with their shares, a line each."""
    texts = []
    for label, partner, ratio in zip(
        batch.labels.tolist(), batch.partners.tolist(), batch.ratios.tolist(), strict=True
    ):
        shares = {label: ratio, partner: 1 - ratio} if label != partner else {label: 1.0}
        texts.append("\n".join(f"{share:.0%} {classes[each]}" for each, share in shares.items() if share >= 0.005))
    return texts


def _even(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 2 or number % 2:
        raise argparse.ArgumentTypeError(f"expected an even number, because neighbours are mixed; got {text}")
    return number
