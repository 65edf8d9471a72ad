"""imagenet: random weights to the paper's results on ImageNet-1k, 360 epochs at batch 4096.

Reaches (paper): F0 83.6 %, F1 84.7 %, F5 86.0 % top-1. Costs 112,600 steps; at the paper's 73 ms for 32 images of F0
on a TPUv3 core, 2.3 hours on 128 of them.

The rate belongs to the batch: with another --batch-size, give --lr 0.1 x batch / 256.

Source: arXiv 2102.06171, sections 4.1 and 4.4, Table 1 and appendix.
Differs: RandAugment is not applied, which the paper's ablation puts at 1.0 to 1.8 points of top-1.
"""

from nfft.recipe import Facts, Recipe

# Of each variant: train px, test px, dropout. Table 1 and the authors' `nfnet.py`.
VARIANTS = {
    "f0": (192, 256, 0.2),
    "f1": (224, 320, 0.3),
    "f2": (256, 352, 0.4),
    "f3": (320, 416, 0.4),
    "f4": (384, 512, 0.5),
    "f5": (416, 544, 0.5),
    "f6": (448, 576, 0.5),
    "f7": (480, 608, 0.5),
}


def recipe(facts: Facts) -> Recipe:
    variant = facts.architecture.removesuffix("s").rsplit("_", 1)[-1]
    train, test, dropout = VARIANTS.get(variant, (facts.train_side, facts.test_side, 0.2))
    return Recipe(
        epochs=360,
        warmup_fraction=5 / 360,
        batch_size=4096,
        lr=1.6,
        weight_decay=2e-5,
        clipping=0.01,
        ema_decay=0.99999,
        label_smoothing=0.1,
        dropout=dropout,
        stochastic_depth=0.25,
        train_resolution=train,
        test_resolution=test,
        mixup=0.2,
        cutmix=True,
    )
