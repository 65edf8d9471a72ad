"""The first training images of a run, as the network will see them."""

from dataclasses import replace

from nfft.config.run_config import RunConfig
from nfft.data.loader import Batch, Collate, MicroBatches, TrainImages
from nfft.reporting.plots.figure import Figure
from nfft.reporting.plots.images import plot_images
from nfft.training.plan import Plan, make_plan


def preview(config: RunConfig, count: int) -> tuple[Plan, Figure]:
    """A sheet of the first images of the run that `config` describes, augmented and mixed.

    Args:
        count: images, an even number: neighbors are mixed.

    Raises:
        UserError: as the run would.
    """
    plan = make_plan(config)
    recipe, seed = replace(plan.recipe, accumulation_steps=1), config.seed
    keys = next(iter(MicroBatches(len(plan.data.learned), recipe, seed, steps=range(1))))[:count]
    images = TrainImages(plan.data.learned, recipe, seed)
    batch = Collate(recipe)([images[key] for key in keys])
    title = f"{plan.task.name}, {config.recipe}: {recipe.train_resolution} px, seed {seed}"
    pictures = batch.images.permute(0, 2, 3, 1).numpy()
    return plan, plot_images(pictures, captions(batch, plan.data.classes), title)


def captions(batch: Batch, classes: list[str]) -> list[str]:
    """The classes of each image; with their shares, a line each."""
    # The last is of NO_LABEL.
    names = [*classes, "no label"]
    texts = []
    for label, partner, ratio in zip(
        batch.labels.tolist(), batch.partners.tolist(), batch.ratios.tolist(), strict=True
    ):
        shares = {label: ratio, partner: 1 - ratio} if label != partner else {label: 1.0}
        texts.append("\n".join(f"{share:.0%} {names[index]}" for index, share in shares.items() if share >= 0.005))
    return texts
