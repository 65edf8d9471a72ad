"""pretrain: random weights to features worth fine-tuning, on a source of many small images."""

from nfft.recipe import Facts, Recipe


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
