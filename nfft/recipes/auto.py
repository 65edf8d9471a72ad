"""auto: settings from the number of images, their size and the checkpoint; for fine-tuning on data of your own."""

import math

from nfft.recipe import Facts, Recipe


def recipe(facts: Facts) -> Recipe:
    batch_size = min(128, 2 ** int(math.log2(max(16, facts.images / 16))), 2 ** int(math.log2(facts.images)))
    side = max(32, min(facts.test_side, 32 * round(facts.side / 32)))
    return Recipe(
        epochs=max(10, 40 * min(1.0, math.sqrt(2000 / facts.images))),
        warmup_fraction=0.1,
        batch_size=batch_size,
        lr=0.1,
        weight_decay=1e-5,
        clipping=0.08,
        ema_decay=0.999,
        label_smoothing=0.1,
        train_resolution=side,
        test_resolution=side,
        test_margin=0,
        crop_area=0.5,
    )
