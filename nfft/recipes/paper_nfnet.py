"""paper-nfnet: how the paper fine-tunes its pre-trained NFNets, with SAM.

Reaches, from 300 million labeled images (JFT) to ImageNet: F4+ 89.2 % top-1. Costs 15,000 steps of 2,048 images, each
1.2 to 1.4 times as long as without SAM.

Source: arXiv 2102.06171, section 5 and appendix: a third of the steps are warm-up to 0.1 whatever the batch, then
cosine to 0; SAM 0.05 on a fifth of the batch, weight decay 1e-5, dropout 0.25, stochastic depth 0.1, EMA 0.9999. What
is too large for a device is taken in parts, each with its own ascent, as the authors' devices had.
Differs: on fewer than 2,048 images the batch is the largest power of two that they fill, and AGC's lambda follows it;
the paper's data were never that few.
"""

from nfft import Facts, Recipe, clipping_for


def recipe(facts: Facts) -> Recipe:
    batch_size = facts.batch(2048)
    return Recipe(
        total_steps=15_000,
        warmup_fraction=1 / 3,
        batch_size=batch_size,
        lr=0.1,
        weight_decay=1e-5,
        clipping=clipping_for(batch_size),
        sam_rho=0.05,
        ema_decay=0.9999,
        dropout=0.25,
        stochastic_depth=0.1,
        train_resolution=facts.train_side,
        test_resolution=facts.test_side,
        test_margin=32 if facts.test_side >= 192 else facts.test_side // 8,
    )
