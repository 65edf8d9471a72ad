"""paper-resnet: how the paper fine-tunes pre-trained ResNets, with and without batch normalization (its Table 4).

Reaches, from 300 million labeled images (JFT) to ImageNet at 224 px: NF-ResNet-50 79.5 %, BN-ResNet-50 78.1 % top-1.

Source: arXiv 2102.06171, section 5 and appendix: 15,000 steps of 2,048 images, a third of them warm-up to 0.1
whatever the batch, cosine to 0, EMA 0.9999; no weight decay, dropout, stochastic depth or SAM. The paper's other
columns are --set train_resolution=320 --set test_resolution=320, and 384.
Differs: on fewer than 2,048 images the batch is the largest power of two that they fill, and AGC's lambda follows it.
"""

from nfft import Facts, Recipe, clipping_for
from nfft.models.architectures import is_normalizer_free


def recipe(facts: Facts) -> Recipe:
    batch_size = facts.batch(2048)
    # The paper clips networks without normalization.
    clips = is_normalizer_free(facts.architecture)
    return Recipe(
        total_steps=15_000,
        warmup_fraction=1 / 3,
        batch_size=batch_size,
        lr=0.1,
        weight_decay=0.0,
        clipping=clipping_for(batch_size) if clips else None,
        ema_decay=0.9999,
        train_resolution=224,
        test_resolution=224,
    )
