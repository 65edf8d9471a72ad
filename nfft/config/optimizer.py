"""Which optimizers there are, and which rate and decay of one stand for those of another."""

from dataclasses import dataclass
from typing import Literal

OptimizerName = Literal["sgd", "adamw", "muon"]


@dataclass(frozen=True)
class Usual:
    """What serves with an optimizer where a rate of 0.1 does with SGD.

    Attributes:
        lr: the rate.
        power: of SGD's rate that the rate grows with: the steps of those that divide by the length of the gradient grow
            with the square root of a batch where SGD's grow with the batch (arXiv 2205.10287).
        momentum: its usual one.
    """

    lr: float
    power: float
    momentum: float


# The rates are the best of a small trial on digits: LOG.md has it.
USUAL: dict[OptimizerName, Usual] = {
    "sgd": Usual(lr=0.1, power=1.0, momentum=0.9),
    "adamw": Usual(lr=3e-3, power=0.5, momentum=0.9),
    "muon": Usual(lr=0.01, power=0.5, momentum=0.95),
}


def usual_settings(
    name: OptimizerName, *, instead_of: OptimizerName, lr: float, weight_decay: float, momentum: float
) -> dict[str, float]:
    """Rate, decay and momentum for optimizer `name`, in place of those of another.

    A weight without a gradient shrinks as much in a step as it did: by rate times decay, which SGD's momentum adds up.

    Args:
        lr, weight_decay, momentum: of the other.
    """
    before, after = USUAL[instead_of], USUAL[name]
    rate = after.lr * (lr / before.lr) ** (after.power / before.power)
    shrinks = lr * weight_decay / ((1 - momentum) if instead_of == "sgd" else 1)
    shrinks *= (1 - after.momentum) if name == "sgd" else 1
    decay = shrinks / rate if rate else weight_decay
    # Digits that nobody would have written are the arithmetic's.
    return {"lr": float(f"{rate:.3g}"), "weight_decay": float(f"{decay:.3g}"), "momentum": after.momentum}
