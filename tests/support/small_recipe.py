"""A recipe for images of some pixels, of which a test changes what it is about."""

from nfft.config.recipe import Recipe

RECIPE = Recipe(
    total_steps=6,
    warmup_fraction=0,
    batch_size=8,
    lr=0.1,
    weight_decay=0,
    clipping=None,
    ema_decay=None,
    train_resolution=8,
    test_resolution=8,
    test_margin=2,
)
