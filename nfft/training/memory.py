"""How many parts a batch has to be taken in so that a training step fits in memory."""

import torch
from torch import Tensor, nn

from nfft.machine import memory_of
from nfft.models.build import is_normalized

# Copies of the weights that a step holds: weights, gradients, momentum, average, and those that SAM goes back to.
COPIES = 5
# What is left is for the loader, for workspace, and for what the allocator cannot use.
USABLE = 0.6


def fewest_parts(
    network: nn.Module,
    *,
    side: int,
    share: int,
    least: int = 1,
    even: bool,
    bytes_each: int,
    device: torch.device,
    copies: int = COPIES,
) -> int:
    """The fewest equal parts of a process's `share` of a batch whose training step should fit.

    Args:
        network: as it will be trained.
        side: px of the training images.
        share: images of the batch in each process.
        least: images that a part needs.
        even: whether a part needs an even number of images, because neighbours are mixed.
        bytes_each: of an activation: 4, or 2 in half precision.
        device: of the network.
        copies: of the weights that a step holds.
    """
    weights = sum(parameter.numel() for parameter in network.parameters()) * 4
    room = USABLE * memory_of(device) - copies * weights
    fitting = max(1, int(room / (saved_values(network, side) * bytes_each)))
    possible = [n for n in range(1, share + 1) if share % n == 0 and share // n >= least]
    possible = [n for n in possible if not (even and share // n % 2)]
    return next((n for n in possible if share // n <= fitting), possible[-1] if possible else 1)


def learns_from_one(network: nn.Module, side: int) -> bool:
    """Whether a single image of `side` px can be a part: batch normalization finds no spread in a single pixel.

    Found by a forward pass without data.
    """
    if not is_normalized(network):
        return True
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.func.functional_call(network, shapes, (torch.empty(1, 3, side, side, device="meta"),))
    except ValueError as error:
        if "Expected more than 1 value per channel" in str(error):
            return False
        raise
    return True


def saved_values(network: nn.Module, side: int) -> float:
    """Numbers that one image of `side` px leaves in memory between a forward pass and its backward pass.

    Found by a forward pass without data, which takes no memory.
    """
    images = 2  # batch normalisation refuses one where the last stage has a single pixel
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    for name, _ in network.named_parameters():
        shapes[name].requires_grad_()
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.ndim > 1 and tensor.shape[0] == images:  # not weights, which more images share
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        batch = torch.empty(images, 3, side, side, device="meta")
        torch.func.functional_call(network, shapes, (batch,))
    # By storage: an expanded tensor takes no more than what it was expanded from.
    sizes = [tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values()]
    return sum(sizes) / images
