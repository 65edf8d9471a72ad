"""auto: fine-tuning on data of your own. A rule, not a table: it looks at the data and the checkpoint.

In the spirit of BiT's hyper-rule (arXiv 1912.11370, section 3.3); where the paper of these networks names a value,
it is the paper's. LOG.md has the sweeps behind the others, on 220 to 2,600 images of four tasks.

- Images seen are 120 x (training images)^0.85: 12,000 in all for 220 (53 epochs), 97,000 for 2,640 (37), 1.2 million
  for 50,000 (24), 19 million for ImageNet (15).
- A checkpoint is trained and scored at its makers' sizes (192 and 256 px for NFNet-F0): pictures much smaller are
  enlarged to what its features know. Random weights get the size of the pictures.
- MixUp and CutMix from 20,000 images on, where BiT begins to mix; fewer gain little by it or lose.
"""

import math

from nfft import Facts, Recipe

MIXING_FROM = 20_000


def recipe(facts: Facts) -> Recipe:
    images_seen = 120 * facts.images**0.85
    batch_size = _power_of_two(facts.images / 16, low=16, high=min(128, facts.images))
    train, test = facts.train_side, facts.test_side
    if not facts.pretrained:
        train = test = _multiple_of_16(facts.side, low=32, high=facts.test_side)
    mixes = facts.images >= MIXING_FROM
    # What the paper fine-tunes its NFNets with; smaller networks are held back by it.
    large = facts.architecture.startswith("dm_nfnet")
    return Recipe(
        epochs=max(1.0, round(images_seen / facts.images, 1)),
        warmup_fraction=0.1,
        batch_size=batch_size,
        lr=0.1,
        weight_decay=1e-5,
        clipping=0.08,
        ema_decay=0.9999,
        label_smoothing=0.1,
        dropout=0.25 if large else 0.0,
        stochastic_depth=0.1 if large else 0.0,
        train_resolution=train,
        test_resolution=test,
        # The paper's 32 px at 256.
        test_margin=test // 8,
        crop_area=0.5,
        mixup=0.2 if mixes else None,
        cutmix=mixes,
    )


def _power_of_two(value: float, *, low: int, high: int) -> int:
    return 2 ** int(math.log2(max(1, min(max(value, low), high))))


def _multiple_of_16(value: float, *, low: int, high: int) -> int:
    return max(low, min(high, 16 * round(value / 16)))
