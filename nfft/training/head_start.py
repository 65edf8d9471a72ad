"""A classifier to start from: fitted to the checkpoint's features as `probe` does it, before any step is taken.

Source: arXiv 2202.10054: a new classifier's first gradients change features that were good already.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from nfft.config.method import Method
from nfft.optim.ema import Ema
from nfft.optim.param_groups import classifier
from nfft.training.base import HeadStart
from nfft.training.plan import Plan
from nfft.training.probe.trainer import ProbeTrainer
from nfft.training.tracking import Tracker


def fit_classifier(
    plan: Plan, accelerator: Accelerator, folder: Path, tracker: Tracker, stop_requested: Callable[[], bool]
) -> tuple[HeadStart, Tensor, Tensor] | None:
    """Fit the classifier of the plan's checkpoint to its training and validation images.

    Features that an interrupted run has left in `folder` are taken up.

    Returns:
        What came of it, and weight and bias, the same in every process; None when a stop was asked for.
    """
    # The test images have no part in it, and as many threads as there are now.
    alone = replace(
        plan,
        method=Method(),
        data=replace(plan.data, test=None),
        recipe=replace(plan.recipe, threads=torch.get_num_threads()),
    )
    probe = ProbeTrainer(alone, accelerator, folder, l2=None, views=0, stages=False)
    probe.restore()
    if not probe.fit(tracker, stop_requested):
        return None
    outcome = probe.finish()
    head, effort = classifier(probe.network), outcome.effort
    assert head.bias is not None
    weight, bias = (broadcast(each.detach().to(accelerator.device)) for each in (head.weight, head.bias))
    scores = outcome.validation.get("raw")
    start = HeadStart(
        l2=effort.l2 or 0.0,
        top1=scores.top1 if scores is not None else 0.0,
        loss=scores.loss if scores is not None else 0.0,
        images=effort.images,
        seconds=effort.seconds,
    )
    return start, weight, bias


@torch.no_grad()
def put_classifier(network: torch.nn.Module, ema: Ema | None, weight: Tensor, bias: Tensor) -> None:
    """Give a network, and the average of its weights, this classifier."""
    head = classifier(network)
    names: dict[Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
    assert head.bias is not None
    for parameter, tensor in ((head.weight, weight), (head.bias, bias)):
        parameter.copy_(tensor.view_as(parameter))
        if ema is not None:
            ema.average[names[parameter]].copy_(tensor.view_as(parameter))
