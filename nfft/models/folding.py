"""A network for inference only: standardised weights computed once, and everything linear folded into them.

timm's networks standardise each weight in every forward pass, and scale what flows through them: by the activations'
gamma, by beta before a residual branch, and by attention's gain, the skip gain and alpha after it. None of it depends
on the image. Folded, a branch is ordinary convolutions and activations, and ends in a single addition.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.squeeze_excite import SEModule
from timm.models.nfnet import GammaAct, NormFreeBlock, NormFreeNet
from torch import Tensor, nn

STANDARDIZED = (ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame)
BRANCH = ("conv1", "act2", "conv2", "act2b", "conv2b", "attn", "act3", "conv3")


@torch.no_grad()
def fold(
    network: nn.Module, tensors: Mapping[str, Tensor] | None = None, dtype: torch.dtype | None = None
) -> nn.Module:
    """A copy of a timm network that answers the same in less time: for evaluation, without gradients or dropout.

    Args:
        network: with standardised convolutions, or without: then the copy computes as the network does. Changes by
            adapters of `nfft.models.lora` go into the copy's weights. The network stays as it is.
        tensors: weights to fold in place of the network's own, by their names in its state dict: an average's.
        dtype: that autocast will compute in: convolutions and linear layers keep their weights in it, which autocast
            would convert in every pass.

    Returns:
        The copy, its axes in memory as the network's are; channels_last is the faster order. It shares with the
        network, or with `tensors`, the parameters that folding does not change, such as the classifier's: fold again
        after a step of training.

    Raises:
        ValueError: for tensors that are not the network's, or adapters that are not `nfft.models.lora`'s.

    Source: arXiv 2101.08692, section 4, and 2102.06171, section 3, for the scales.
    Differs: from timm's network by rounding: in float32 by about 1e-6 of the range of the logits.
    """
    folded = _folded(_copied(network, tensors or {})).eval()
    for layer in folded.modules():
        if dtype is not None and isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.weight = _frozen(layer.weight.to(dtype))
            layer.bias = None if layer.bias is None else _frozen(layer.bias.to(dtype))
    return folded


def _copied(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy for evaluation that has `tensors`, and shares the other parameters with `network`."""
    buffers = dict(network.named_buffers(remove_duplicate=False))
    own = {**dict(network.named_parameters(remove_duplicate=False)), **buffers}
    for name, tensor in tensors.items():
        if name not in own:
            raise ValueError(f"{name}: expected the names of the network's own tensors; it has none of this name.")
        if tensor.shape != own[name].shape:
            raise ValueError(f"{name}: expected the shape {tuple(own[name].shape)}; got {tuple(tensor.shape)}.")
    # What deepcopy finds in here counts as copied.
    memo: dict[int, Any] = {}
    for name, tensor in own.items():
        taken = tensors.get(name, tensor).detach()
        memo[id(tensor)] = taken.clone() if name in buffers else _frozen(taken)
    copied: Any = copy.deepcopy(network, memo).eval()
    if getattr(copied, "grad_checkpointing", False):
        copied.set_grad_checkpointing(False)
    return copied


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _folded(module: Any) -> nn.Module:
    """`module` with all in it folded, or what takes its place."""
    if isinstance(module, NormFreeBlock):
        return Block(module)
    if _is_convolution(module):
        return _plain(module)
    if isinstance(module, NormFreeNet):
        module.stem = _chain(dict(module.stem.named_children()))
        module.head.drop = nn.Identity()  # type: ignore[assignment]
    for name, child in module.named_children():
        setattr(module, name, _folded(child))
    return module


def _chain(layers: Mapping[str, nn.Module], before: float = 1.0, after: float = 1.0) -> nn.Sequential:
    """Layers in a row between scales, with each activation's gamma in the weight of the convolution that follows it."""
    chain, last = nn.Sequential(), list(layers)[-1]
    for name, layer in layers.items():
        if isinstance(layer, GammaAct):
            before *= layer.gamma
            layer = Activation(layer)
        elif _is_convolution(layer):
            layer = _plain(layer, before, after if name == last else 1.0)
            before = 1.0
        chain.add_module(name, layer)
    assert before == 1, "no convolution follows the last activation"
    return chain


def _is_convolution(module: nn.Module) -> bool:
    """Whether it is one, or an adapter's around one."""
    return isinstance(getattr(module, "base_layer", module), nn.Conv2d)


def _plain(layer: nn.Module, before: float = 1.0, after: float = 1.0) -> nn.Conv2d:
    """An ordinary convolution that computes what `layer` does between these scales."""
    conv, changed = _opened(layer)
    weight, plain = changed.get("weight", conv.weight), conv
    if isinstance(conv, STANDARDIZED):
        weight = _standardized(conv, weight, changed.get("gain", getattr(conv, "gain", None)))
        kind: Any = Conv2dSame if getattr(conv, "same_pad", False) else nn.Conv2d
        shape = conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation
        plain = kind(*shape, conv.groups, conv.bias is not None, device="meta")
    elif weight is conv.weight and before == after == 1:
        return conv
    # empty_like keeps the order of the axes in memory.
    plain.weight = _frozen(torch.empty_like(conv.weight).copy_(weight * (before * after)))
    plain.bias = conv.bias if after == 1 or conv.bias is None else _frozen(conv.bias * after)
    return plain


def _opened(layer: Any) -> tuple[Any, dict[str, Tensor]]:
    """A convolution, and those of its tensors that adapters around it change."""
    if isinstance(layer, nn.Conv2d):
        return layer, {}
    from nfft.models.lora import WeightSpaceConv2d

    if not isinstance(layer, WeightSpaceConv2d) or (layer.merged and layer.disable_adapters):
        raise ValueError(f"expected an adapter of nfft.lora in use; got {type(layer).__name__}. Merge or remove it.")
    used = [] if layer.merged or layer.disable_adapters else layer.active_adapters
    return layer.base, layer.changed(used)


def _standardized(conv: Any, weight: Tensor, gain: Tensor | None) -> Tensor:
    """What timm's forward pass makes of `weight`, by the same function; in float32 at least."""
    weight = weight.to(torch.promote_types(weight.dtype, torch.float32))
    if gain is not None:
        gain = (gain * conv.scale).to(weight.dtype).flatten()
    rows = weight.reshape(1, conv.out_channels, -1)
    return F.batch_norm(rows, None, None, gain, training=True, momentum=0.0, eps=conv.eps).view(weight.shape)


class Activation(nn.Module):
    """timm's GammaAct without its gamma."""

    def __init__(self, activation: GammaAct) -> None:
        super().__init__()
        self.function, self.inplace = activation.act_fn, activation.inplace

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, inplace=self.inplace)


class Attention(nn.Module):
    """Any attention of timm, times a number."""

    def __init__(self, attention: nn.Module, scale: float) -> None:
        super().__init__()
        self.attention, self.scale = attention, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x) * self.scale

    def onto(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """shortcut + forward(x)."""
        return torch.add(shortcut, self.attention(x), alpha=self.scale)


class SqueezeExcite(nn.Module):
    """timm's squeeze-and-excite, times a number; `x` of forward is overwritten."""

    def __init__(self, attention: Any, scale: float) -> None:
        super().__init__()
        self.fc1, self.fc2 = _plain(attention.fc1), _plain(attention.fc2)
        self.act, self.gate, self.scale = attention.act, attention.gate, scale

    def gates(self, x: Tensor) -> Tensor:
        # Of single pixels; in half precision linear layers take half the time of convolutions.
        hidden = self.act(F.linear(x.mean((2, 3)), self.fc1.weight.flatten(1), self.fc1.bias))
        return self.gate(F.linear(hidden, self.fc2.weight.flatten(1), self.fc2.bias))[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(self.gates(x) * self.scale)

    def onto(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """shortcut + forward(x)."""
        return torch.addcmul(shortcut, x, self.gates(x), value=self.scale)


def _attention(attention: Any, scale: float) -> Attention | SqueezeExcite | None:
    if attention is None:
        return None
    usual = isinstance(attention, SEModule) and not attention.add_maxpool and isinstance(attention.bn, nn.Identity)
    return SqueezeExcite(attention, scale) if usual else Attention(attention, scale)


class Block(nn.Module):
    """timm's NormFreeBlock with its scales folded; the weights in `branch` have timm's names."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        first, last = block.beta, block.alpha
        if block.skipinit_gain is not None:
            last *= float(block.skipinit_gain)
        self.act1, self.downsample = block.act1, block.downsample
        if isinstance(block.act1, GammaAct):
            first *= block.act1.gamma
            self.act1 = Activation(block.act1)
        if self.downsample is not None:
            self.downsample.conv = _plain(self.downsample.conv, first)
        block.act3.inplace = True
        block.attn = _attention(block.attn, block.attn_gain)
        self.attn_last = _attention(block.attn_last, block.attn_gain * last)
        layers = {name: getattr(block, name) for name in BRANCH if getattr(block, name) is not None}
        self.branch = _chain(layers, first, last if self.attn_last is None else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        out = self.act1(x)
        shortcut = x if self.downsample is None else self.downsample(out)
        out = self.branch(out)
        return out.add_(shortcut) if self.attn_last is None else self.attn_last.onto(shortcut, out)
