"""Learning rate over a run: linear warm-up, then cosine to zero."""

import math


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
