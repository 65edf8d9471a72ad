"""auto: fine-tuning on data of your own. A rule, not a table: it looks at the data and the checkpoint.

In the spirit of BiT's hyper-rule (arXiv 1912.11370, section 3.3); where the paper of these networks names a value,
it is the paper's. LOG.md has the sweeps behind the others, on 100 to 9,000 images of eight tasks.

- From random weights, images seen are 120 x (training images)^0.85: 97,000 in all for 2,640 (37 epochs), 1.2 million
  for 50,000 (24), 19 million for ImageNet (15). From a checkpoint, the fewer images a class has the sooner they are
  learned by heart: up to 50 of a class a quarter of that does as well or better, with 800 it is a half. At
  least 4,000, where that is no more than before: 250 steps of the smallest batch.
- Of a checkpoint, batches are small where images are few, so that there are enough steps: 16 up to 1,500 images, 32 up
  to 3,000, at most 128. The rate is 0.1; where a class has fewer than 50 images, that at 128,
  and it goes with the third root of the batch.
- A checkpoint is trained and scored at its makers' sizes (192 and 256 px for NFNet-F0): pictures much smaller are
  enlarged to what its features know. Random weights get the size of the pictures.
- MixUp and CutMix where a checkpoint sees fewer than 50 images of a class, which it learns by heart without, and from
  20,000 images on, where BiT begins to mix; between them it gains little by it or loses.
- Scores on the way take at most a tenth of the time.
"""

import math

from nfft import Facts, Recipe

# Images in all; of a class.
MIXING_FROM, FEW = 20_000, 50
LARGEST_BATCH = 128
# Images seen.
LEAST = 4_000


def recipe(facts: Facts) -> Recipe:
    images_seen = _images_seen(facts)
    filled = facts.images / (48 if facts.pretrained else 16)
    batch_size = _power_of_two(filled, low=16, high=min(LARGEST_BATCH, facts.images))
    train, test = facts.train_side, facts.test_side
    if not facts.pretrained:
        train = test = _multiple_of_16(facts.side, low=32, high=facts.test_side)
    is_few_shot = facts.pretrained and facts.images < FEW * facts.classes
    mixes = facts.images >= MIXING_FROM or is_few_shot
    # What the paper fine-tunes its NFNets with; smaller networks are held back by it.
    large = facts.architecture.startswith("dm_nfnet")
    return Recipe(
        epochs=max(1.0, round(images_seen / facts.images, 1)),
        warmup_fraction=0.1,
        batch_size=batch_size,
        lr=round(0.1 * math.cbrt(batch_size / LARGEST_BATCH), 3) if is_few_shot else 0.1,
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
        evaluations=_evaluations(images_seen, facts.validation),
    )


def _images_seen(facts: Facts) -> float:
    whole = 120 * facts.images**0.85
    if not facts.pretrained:
        return whole
    of_a_class = facts.images / facts.classes
    return min(whole, max(LEAST, whole * 0.25 * max(1.0, of_a_class / FEW) ** 0.25))


def _evaluations(images_seen: float, validation: int) -> int:
    """How many leave nine tenths of the time to training, in which an image costs three times as much."""
    on_the_way = 0.3 * images_seen / max(1, validation)
    return max(1, min(10, 1 + int(on_the_way)))


def _power_of_two(value: float, *, low: int, high: int) -> int:
    return 2 ** int(math.log2(max(1, min(max(value, low), high))))


def _multiple_of_16(value: float, *, low: int, high: int) -> int:
    return max(low, min(high, 16 * round(value / 16)))
