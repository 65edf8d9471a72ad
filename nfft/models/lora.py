"""Low-rank adapters that are right for weight-standardized convolutions, through peft.

peft's own layers for convolutions make their two factors convolutions of the same kind, which standardize themselves,
and merge into a weight that is standardized again: what was learned is lost. Here B·A is added to the raw weight before
it is standardized, and merging is that same addition.
"""

import copy
import fnmatch
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, cast

import torch
from peft import LoraConfig, PeftConfig, PeftType, inject_adapter_in_model
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from timm.layers import StdConv2d, StdConv2dSame
from torch import Tensor, nn

from nfft.errors import UserError, nearest
from nfft.optim.agc import EPS
from nfft.optim.param_groups import classifier

ADAPTER = "default"
TINY = 1e-12
# Fields of peft's LoraConfig that the layer below heeds, or that are no concern of a layer.
HEEDED = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode",
    "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout", "modules_to_save",
    "peft_type", "peft_version", "r", "rank_pattern", "revision", "target_modules", "task_type", "use_dora",
    "use_rslora",
}  # fmt: skip


class WeightSpaceConv2d(nn.Module, LoraLayer):
    """A convolution of any groups, padding and dilation, plain or standardized, whose raw weight has low-rank changes.

    A is (r, fan-in) and B (out, r), with the fan-in of one group. A DoRA magnitude multiplies the gain of a
    standardized convolution, whose weight has no length of its own, and is the length of a plain one's.
    """

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: LoraConfig, **settings: Any) -> None:
        super().__init__()
        LoraLayer.__init__(self, base_layer)
        self._active_adapter = adapter_name
        self._before: dict[str, Tensor] = {}
        self.update_layer(adapter_name, config=config, **settings)

    @property
    def base(self) -> nn.Conv2d:
        """The convolution that is changed."""
        return cast(nn.Conv2d, self.get_base_layer())

    def update_layer(self, adapter_name: str, r: int, lora_alpha: int, config: LoraConfig, **_: Any) -> None:
        """Add an adapter of rank `r`; its first change of the weight is zero."""
        check_heeded(config)
        weight = self.base.weight
        rows, fan_in = weight.flatten(1).shape
        if not 1 <= r <= min(rows, fan_in):
            raise ValueError(
                f"the rank must be from 1 to {min(rows, fan_in)} for a weight of {rows} x {fan_in}; got {r}"
            )
        self.r[adapter_name], self.lora_alpha[adapter_name] = r, lora_alpha
        self.scaling[adapter_name] = lora_alpha / (math.sqrt(r) if config.use_rslora else r)
        self.use_rslora[adapter_name] = config.use_rslora
        self.lora_dropout[adapter_name] = nn.Dropout(config.lora_dropout) if config.lora_dropout else nn.Identity()
        a, b = nn.Linear(fan_in, r, bias=False), nn.Linear(r, rows, bias=False)
        if config.init_lora_weights:
            nn.init.zeros_(b.weight)
        self.lora_A[adapter_name], self.lora_B[adapter_name] = a, b
        if config.use_dora:
            check_length(self.base)
            lengths = torch.ones(rows) if self.is_standardized else weight.detach().float().flatten(1).norm(dim=1)
            self.lora_magnitude_vector[adapter_name] = Magnitude(lengths)
        self.use_dora[adapter_name] = config.use_dora
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    @property
    def is_standardized(self) -> bool:
        return hasattr(self.base, "gain")

    def get_delta_weight(self, adapter: str) -> Tensor:
        """The adapter's change of the raw weight, in float32 whatever the precision around it."""
        a, b = (cast(nn.Linear, factors[adapter]).weight for factors in (self.lora_A, self.lora_B))
        with torch.autocast(a.device.type, enabled=False):
            change = b.float() @ a.float() * self.scaling[adapter]
        return change.view_as(self.base.weight)

    def changed(self, adapters: Sequence[str]) -> dict[str, Tensor]:
        """The base layer's tensors with these adapters' changes, of which dropout leaves out a part in training."""
        base: Any = self.base
        tensors: dict[str, Tensor] = {"weight": base.weight}
        for adapter in adapters:
            if adapter not in self.lora_A:
                continue
            change = self.lora_dropout[adapter](self.get_delta_weight(adapter))
            tensors["weight"] = tensors["weight"] + change.to(base.weight.dtype)
            if self.use_dora[adapter]:
                vector = cast(Magnitude, self.lora_magnitude_vector[adapter]).weight
                magnitude = vector.to(base.weight.dtype).view(-1, 1, 1, 1)
                if self.is_standardized:
                    tensors["gain"] = tensors.get("gain", base.gain) * magnitude
                else:
                    rows = tensors["weight"].flatten(1).norm(dim=1).view(-1, 1, 1, 1)
                    tensors["weight"] = tensors["weight"] * (magnitude / rows.clamp(min=TINY))
        return tensors

    def forward(self, x: Tensor) -> Tensor:
        base = self.base
        if self.disable_adapters:
            if self.merged:
                self.unmerge()
            return base(x)
        if self.merged:
            return base(x)
        return torch.func.functional_call(base, self.changed(self.active_adapters), (x,))

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the change of the active adapters to the base layer; the outputs stay equal to the bit."""
        adapters = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.lora_A]
        if not adapters:
            return
        base, training = self.base, self.training
        self.eval()  # dropout belongs to training
        after = self.changed(adapters)
        self.train(training)
        if safe_merge and not all(bool(torch.isfinite(tensor).all()) for tensor in after.values()):
            raise ValueError(f"the adapter {', '.join(adapters)} has values that are not finite")
        if not self._before:
            self._before = {
                name: getattr(base, name).detach().clone() for name in ("weight", "gain") if hasattr(base, name)
            }
        for name, tensor in after.items():
            getattr(base, name).copy_(tensor)
        self.merged_adapters.extend(adapters)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Give the base layer the tensors that it had before merging, to the bit."""
        for name, tensor in self._before.items():
            getattr(self.base, name).copy_(tensor)
        self._before = {}
        self.merged_adapters.clear()

    def __repr__(self) -> str:
        return "lora." + super().__repr__()


class Magnitude(nn.Module):
    """DoRA's length of each output unit, shape (out,)."""

    def __init__(self, lengths: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(lengths)


# peft looks only at the first kind, and standardized convolutions are convolutions.
LAYERS: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: WeightSpaceConv2d}


def check_heeded(config: LoraConfig) -> None:
    """See that `config` has nothing that would be passed over without a word.

    Raises:
        ValueError: naming the first such field.
    """
    default, names = LoraConfig(), [entry.name for entry in fields(LoraConfig) if entry.name not in HEEDED]
    unheeded = [name for name in names if getattr(config, name) != getattr(default, name)]
    if not isinstance(config.init_lora_weights, bool):
        unheeded.append("init_lora_weights")
    if unheeded:
        value = getattr(config, unheeded[0])
        raise ValueError(f"{unheeded[0]}={value!r} has no meaning for convolutions here; leave it out")


def check_length(convolution: nn.Conv2d) -> None:
    """See that the units of `convolution` have a length that DoRA can train.

    Raises:
        ValueError: where its weight is standardized and has no gain.
    """
    if isinstance(convolution, (StdConv2d, StdConv2dSame)):
        raise ValueError(
            f"DoRA trains the length of a unit, and {type(convolution).__name__} takes it away; use LoRA without it"
        )


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Every convolution but a classifier, by name: those of the body, of shortcuts and of squeeze-and-excite."""
    head = classifier(network)
    return {
        name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d) and module is not head
    }


def matching_convolutions(network: nn.Module, patterns: str | None) -> dict[str, nn.Conv2d]:
    """The convolutions whose names match any of `patterns`, such as "conv1,attn*"; all when absent.

    A pattern is compared with the whole name and with each of its parts.

    Raises:
        UserError: for a pattern that matches none, with the nearest names.
    """
    every = convolutions(network)
    if patterns is None:
        return every
    layers: dict[str, nn.Conv2d] = {}
    for pattern in map(str.strip, patterns.split(",")):
        matching = {
            name: layer
            for name, layer in every.items()
            if fnmatch.fnmatchcase(name, pattern) or any(fnmatch.fnmatchcase(part, pattern) for part in name.split("."))
        }
        if not matching:
            known = sorted({part for name in every for part in name.split(".") if not part.isdecimal()})
            raise UserError(f"method.targets: no convolution matches {pattern!r}; {nearest(pattern, known)}")
        layers |= matching
    return layers


def configure(
    network: nn.Module, *, rank: int, alpha: float, dropout: float, dora: bool, targets: str | None
) -> LoraConfig:
    """peft's description of adapters for `network`, with ranks that each weight can have.

    Raises:
        UserError: when nothing matches, or the rank is above what any of the weights can have.
    """
    layers = matching_convolutions(network, targets)
    largest = {name: min(layer.weight.flatten(1).shape) for name, layer in layers.items()}
    if not 1 <= rank <= max(largest.values()):
        raise UserError(f"method.rank must be from 1 to {max(largest.values())} for these weights; got {rank}.")
    ranks = {name: high for name, high in largest.items() if high < rank}
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        lora_dropout=dropout,
        use_dora=dora,
        target_modules=sorted(layers),
        rank_pattern={f"^{name}$".replace(".", r"\."): high for name, high in ranks.items()},
        # The same factor in every layer, whatever its rank.
        alpha_pattern={f"^{name}$".replace(".", r"\."): alpha * high / rank for name, high in ranks.items()},
        modules_to_save=[name for name, module in network.named_modules() if module is classifier(network)],
    )
    config._register_custom_module(LAYERS)
    return config


def attach(network: nn.Module, config: PeftConfig) -> None:
    """Put adapters into `network`, in place; they and the classifier are all that is trained.

    Raises:
        UserError: when they would not be of the layers above, or do not fit.
    """
    if not isinstance(config, LoraConfig) or config.peft_type != PeftType.LORA or not is_registered(config):
        raise UserError(
            f"{type(config).__name__}: on weight-standardised convolutions peft's own layers lose 80 to 100 % of what "
            "was learned when they are merged, without a word. Use LoraConfig, after "
            "config._register_custom_module(nfft.lora.LAYERS)."
        )
    # peft would wrap the classifier in a copy of itself: here it is trained where it is, and saved as peft would.
    changes = copy.copy(config)
    changes.modules_to_save = None
    try:
        inject_adapter_in_model(changes, network, adapter_name=ADAPTER)
    except (ValueError, re.error) as error:
        raise UserError(f"these adapters do not fit {type(network).__name__}: {str(error).rstrip('.')}.") from error
    layers = [(name, module) for name, module in network.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, layer in layers:
        if not isinstance(layer, WeightSpaceConv2d) or layer is classifier(network):
            raise UserError(f"adapters are for convolutions, and the classifier is trained whole; {name} is targeted.")
    network.train(network.training)  # new layers are in training mode, whatever the network is in
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    classifier(network).requires_grad_(True)


def is_registered(config: LoraConfig) -> bool:
    """Whether peft will use the layer above for every convolution."""
    return (config._custom_modules or {}).get(nn.Conv2d) is WeightSpaceConv2d


def adapted(network: nn.Module) -> Iterator[tuple[str, WeightSpaceConv2d]]:
    """The layers that have adapters, by name."""
    return ((name, layer) for name, layer in network.named_modules() if isinstance(layer, WeightSpaceConv2d))


@torch.no_grad()
def floors(network: nn.Module) -> dict[Tensor, Tensor]:
    """Lengths that AGC may take the units of B for: B starts at zero, and could not move otherwise.

    A unit is a row, and its length has the shape (out, 1); of rank 1, B is a vector, and as a whole one unit (as gains
    are in the paper's code; where they are clipped by element, this floor is that of the whole still).

    A unit of B that changes by its floor times lambda changes the raw weight by at most lambda of its length: what AGC
    allows the weight itself. On digits that is worth 4 to 5 points of top-1 over the paper's
    eps, and without clipping a learning rate of 0.5 diverges: LOG.md has the runs.
    """
    lengths_of_b = {}
    for _, layer in adapted(network):
        a, b = (cast(nn.Linear, factors[ADAPTER]).weight for factors in (layer.lora_A, layer.lora_B))
        lengths = layer.base.weight.float().flatten(1).norm(dim=1, keepdim=True).clamp(min=EPS)
        if b.shape[1] == 1:
            lengths = lengths.norm()
        lengths_of_b[cast(Tensor, b)] = lengths / (a.float().norm() * layer.scaling[ADAPTER])
    return lengths_of_b
