"""One optimizer step: AGC, SGD or another optimizer, EMA."""

import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor, nn

from nfft.optim.agc import clip_gradients, clip_nothing
from nfft.optim.ema import Ema
from nfft.optim.param_groups import clipped, optimizer_groups


class Update(Protocol):
    """Moves everything that is trained by its gradients, once."""

    def __call__(self, *, clipping: float | None, floors: Mapping[Tensor, Tensor] | None = None) -> Tensor:
        """Args:
            clipping, floors: as for `clip_gradients`; None does not clip.

        Returns:
            The fraction of units whose gradient was clipped, as `clip_gradients` and `clip_nothing` have it.
        """


class SequentialUpdate:
    """The paper's step, one part after the other: AGC, the optimizer's own step and decay, average of weights."""

    def __init__(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, ema: Ema | None, whole_gains: bool = True
    ) -> None:
        self.network, self.optimizer, self.ema, self.whole_gains = network, optimizer, ema, whole_gains

    def __call__(self, *, clipping: float | None, floors: Mapping[Tensor, Tensor] | None = None) -> Tensor:
        if clipping is None:
            share_clipped = clip_nothing(self.network.parameters())
        else:
            share_clipped = clip_gradients(clipped(self.network), clipping, floors=floors, whole_gains=self.whole_gains)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.update(self.network)
        return share_clipped


def fastest_update(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema | None,
    *,
    scaled: bool,
    whole_gains: bool = True,
) -> Update:
    """The fastest update where `network` is: on a GPU a fused one, in one pass over memory, the same to rounding.

    Args:
        optimizer: only of SGD, with Nesterov's momentum or none, is there a fused update; its state holds the momentum
            either way.
        scaled: whether there is a loss scaler, which skips steps of the optimizer from outside.
        whole_gains: as for `clip_gradients`.
    """
    sequential = SequentialUpdate(network, optimizer, ema, whole_gains)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    on_gpu = all(parameter.device.type == "cuda" for parameter in trained)
    # accelerate wraps it.
    is_sgd = isinstance(getattr(optimizer, "optimizer", optimizer), torch.optim.SGD)
    if scaled or not whole_gains or not on_gpu or not is_sgd or find_spec("triton") is None:
        return sequential
    from nfft.optim.step_triton import FusedUpdate, fits

    if not all(fits(parameter) for parameter in trained):
        return sequential
    try:
        rehearse(FusedUpdate, trained[0].device)
    except Exception as error:  # Triton's failures, such as for want of a C compiler, are of many types
        warnings.warn(f"steps of the optimizer take several passes over memory: {error}", stacklevel=2)
        return sequential
    return FusedUpdate(network, optimizer, ema)


def rehearse(kind: type, device: torch.device) -> None:
    """Compare two steps of a small network by `kind` with the sequential ones: a failure shows before the run.

    Raises:
        Exception: of any kind, where they cannot be taken, or differ.
    """
    results = []
    for update_kind in (SequentialUpdate, kind):
        draw = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            network = nn.Sequential(nn.Conv2d(5, 12, 3), nn.Linear(7, 3))
        for parameter in network.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.get_classifier = lambda network=network: network[1]  # type: ignore[assignment]
        optimizer = torch.optim.SGD(optimizer_groups(network, 0.1), lr=0.1, momentum=0.9, nesterov=True)
        ema = Ema(network, 0.9)
        update = update_kind(network, optimizer, ema)
        for _ in range(2):
            for parameter in network.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=draw).to(device)
            share = update(clipping=1.0)
        results.append([share, *network.parameters(), *ema.average.values()])
    torch.testing.assert_close(*results)
