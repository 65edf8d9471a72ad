"""pretrain: random weights to features worth fine-tuning, on a source of many small images.

Reaches 34.8 % on 200 classes of Tiny ImageNet (40,000 training images) with 0.48 M parameters, in 55 minutes of one CPU
core; that is `nfnet-nano`. LOG.md says where its numbers are from: a trial with 0.23 M parameters at 64 px gave the
rate, the batch and AGC's lambda; the paper's 0.1 x batch / 256 would be a rate of 0.05.
"""

from nfft import Facts, Recipe


def recipe(facts: Facts) -> Recipe:
    return Recipe(
        epochs=30,
        warmup_fraction=0.05,
        batch_size=128,
        lr=0.4,
        weight_decay=5e-5,
        clipping=0.08,
        ema_decay=0.9995,
        label_smoothing=0.1,
        train_resolution=48,
        test_resolution=48,
        test_margin=0,
        crop_area=0.3,
        evaluations=15,
    )
