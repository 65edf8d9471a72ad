"""What changes over a run: the learning rate, with linear warm-up and a cosine to zero, and the size of the images."""

import math

# That images of a run have at most before they are full-grown.
SIZES = 4


def learning_rate(step: int, *, peak: float, total_steps: int, warmup_steps: int) -> float:
    """Learning rate of optimizer step `step`.

    Args:
        step: 0 for the first step of the run.
        peak: rate at the end of warm-up.
        total_steps: steps in the whole run.
        warmup_steps: steps over which the rate rises linearly from 0.

    Returns:
        The rate; 0 at step 0 when there is a warm-up, approaching 0 at `total_steps`.

    Source: arXiv 2102.06171, section 4.1.
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def train_side(step: int, *, first: int, last: int, total_steps: int, growth_fraction: float) -> int:
    """Side in px of the images that optimizer step `step` sees: it grows from `first` to `last`.

    Few sizes, since each is compiled and searched for anew: SIZES at most before `last`, multiples of 16, each for as
    many steps.

    Args:
        step: 0 for the first step of the run.
        total_steps: steps in the whole run.
        growth_fraction: share of them after which `last` is reached.

    Source: progressive resizing is the fast.ai team's of DAWNBench 2018; arXiv 2104.00298 (EfficientNetV2), section 4.
    Differs: arXiv 2104.00298 also regularizes more at larger sizes.
    """
    smaller = sorted({first, *(16 * round((first + (last - first) * n / SIZES) / 16) for n in range(1, SIZES))})
    smaller = [side for side in smaller if first <= side < last]
    grown = growth_fraction * total_steps
    if step >= grown or not smaller:
        return last
    return smaller[int(step / grown * len(smaller))]
