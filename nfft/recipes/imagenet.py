"""imagenet: random weights to the paper's results on ImageNet-1k, 360 epochs at batch 4096.

Reaches (paper): F0 83.6 %, F1 84.7 %, F5 86.0 % top-1. Costs 112,600 steps; at the paper's 73 ms for 32 images of F0
on a TPUv3 core, 2.3 hours on 128 of them. Another --batch-size brings its own rate and AGC lambda.

Source: arXiv 2102.06171, sections 4.1 and 4.4, Table 1 and appendix; the authors' `experiment_nfnets.py`.
"""

from nfft import Facts, Recipe, clipping_for

# Of each variant: train px, test px, dropout, RandAugment's magnitude. Table 1 and the authors' `base.py`.
VARIANTS = {
    "f0": (192, 256, 0.2, 5),
    "f1": (224, 320, 0.3, 10),
    "f2": (256, 352, 0.4, 10),
    "f3": (320, 416, 0.4, 15),
    "f4": (384, 512, 0.5, 15),
    "f5": (416, 544, 0.5, 15),
    "f6": (448, 576, 0.5, 15),
    "f7": (480, 608, 0.5, 15),
}


def recipe(facts: Facts) -> Recipe:
    batch_size = facts.batch(4096)
    variant = facts.architecture.removesuffix("_plus").removesuffix("s").rsplit("_", 1)[-1]
    other = (facts.train_side, facts.test_side, 0.2, _magnitude(facts.train_side))
    train, test, dropout, magnitude = VARIANTS.get(variant, other)
    return Recipe(
        epochs=360,
        warmup_fraction=5 / 360,
        batch_size=batch_size,
        lr=0.1 * batch_size / 256,
        weight_decay=2e-5,
        clipping=clipping_for(batch_size),
        ema_decay=0.99999,
        label_smoothing=0.1,
        dropout=dropout,
        stochastic_depth=0.25,
        train_resolution=train,
        test_resolution=test,
        mixup=0.2,
        cutmix=True,
        randaugment=magnitude,
    )


def _magnitude(side: int) -> float:
    """The magnitude that the paper gives the variant trained at `side` px; below its smallest, in proportion."""
    larger_first = reversed(VARIANTS.values())
    return next((magnitude for px, _, _, magnitude in larger_first if side >= px), round(5 * side / 192, 1))
