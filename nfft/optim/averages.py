"""Further averages of the weights of one run, and their soup: sets of weights that cost no gradient."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from nfft.optim.ema import Ema

# What the uniform soup of raw and averaged weights is called, beside "raw" and "ema".
SOUP = "soup"


class Window(Ema):
    """Running average of a constant decay, in which the weights before the first step have no part.

    The weights of the step that lies n back count by decay^n, and all together by 1.

    Differs: an `Ema` without warm-up starts from the weights before training; with a decay of 0.999, four fifths of it
        are still these after 200 steps, a new classifier included.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module, decay)

    def decay_at(self, step: int) -> float:
        return 1 - (1 - self.decay) / (1 - self.decay ** (step + 1))


class Mean(Ema):
    """Running mean: all weights that it is shown count the same."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module, 0.0)

    def decay_at(self, step: int) -> float:
        return step / (step + 1)


class Averages:
    """Averages of other decays than `Ema`'s, and the mean of the weights at a run's last evaluations.

    Args:
        module: the network whose weights are averaged.
        decays: of each `Window`, in [0, 1), every one another.
        last: of how many evaluations the mean is; None for no mean.
    """

    def __init__(self, module: nn.Module, decays: Sequence[float] = (), last: int | None = None) -> None:
        self.last = last
        self.windows: dict[str, Ema] = {f"ema-{decay!r}": Window(module, decay) for decay in decays}
        self.mean: dict[str, Ema] = {f"last-{last}": Mean(module)} if last is not None else {}

    def update(self, module: nn.Module) -> None:
        """Move the averages toward the weights that an optimizer step has just made."""
        for window in self.windows.values():
            window.update(module)

    def note_evaluation(self, module: nn.Module, step: int, evaluated: Iterable[int]) -> None:
        """Add the weights to the mean if `step` is among the last of the steps that are `evaluated`."""
        for mean in self.mean.values():
            if step in sorted(evaluated)[-(self.last or 0) :]:
                mean.update(module)

    def candidates(self) -> list[str]:
        """Names of the sets of weights that there are beside "raw" and "ema"."""
        return [*self.windows, *([SOUP] if self.windows else []), *self.mean]

    def weights(self, name: str, module: nn.Module, ema: Ema | None) -> Mapping[str, Tensor]:
        """The set of weights called `name`, by the names in the state dict of `module`."""
        if name != SOUP:
            return {**self.windows, **self.mean}[name].average
        others = [average.average for average in [*([ema] if ema is not None else []), *self.windows.values()]]
        return mean_of([module.state_dict(), *others])

    def state(self) -> dict[str, Tensor]:
        """What they go on from, by name."""
        every = {**self.windows, **self.mean}
        tensors = {f"{name}.{part}": t for name, ema in every.items() for part, t in ema.average.items()}
        return tensors | {name: torch.tensor(ema.step) for name, ema in every.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        for name, ema in {**self.windows, **self.mean}.items():
            for part, tensor in ema.average.items():
                tensor.copy_(state[f"{name}.{part}"])
            ema.step = int(state[name])


@torch.no_grad()
def mean_of(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several sets of weights of one network, added up in float64, in the precision that they have.

    Args:
        states: state dicts with the same names, shapes and dtypes; of what is no floating-point number, the first's.
    """
    return {name: mean_of_tensors([state[name] for state in states]) for name in states[0]}


def mean_of_tensors(tensors: Sequence[Tensor]) -> Tensor:
    """The same for one tensor of each."""
    first = tensors[0]
    if not first.is_floating_point():
        return first.clone()
    # On the CPU: some devices have no float64.
    total = torch.zeros(first.shape, dtype=torch.float64)
    for tensor in tensors:
        total += tensor.detach().to("cpu", torch.float64)
    return torch.empty_like(first).copy_(total / len(tensors))
