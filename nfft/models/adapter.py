"""An adapter in a folder, in peft's format: adapter_config.json and adapter_model.safetensors, a few MB.

config.json describes the network with the adapter merged, and names the base and the hash of its weights: on another
base the changes would mean nothing.
"""

import copy
import json
import re
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn

from nfft.errors import UserError
from nfft.files import read_json, write_json, write_text
from nfft.models import lora
from nfft.models.checkpoint import ADAPTER, ADAPTER_FILES, Checkpoint
from nfft.models.saving import config_of
from nfft.models.tensors import write_tensors
from nfft.models.validation import tensors_of
from nfft.optim.param_groups import classifier
from nfft.text import shorten

CONFIG, WEIGHTS = ADAPTER_FILES
PREFIX = "base_model.model."
# What of adapter_config.json describes the adapter; anything else is peft's business with other libraries.
PATTERNS = ("rank_pattern", "alpha_pattern")
FIELDS = ("r", "lora_alpha", "use_dora", "use_rslora", "target_modules", *PATTERNS)
LAYER = r"\^?[\w.\\-]+\$?"  # a name, as peft's patterns have it
LARGEST_FACTOR = 1e15


def base_of(checkpoint: Checkpoint) -> tuple[str, str | None]:
    """Where to load an adapter's base from again: its name on the Hub and the revision, or its folder.

    The whole path of a folder, so that the adapter can be loaded from anywhere. A folder has no revisions, even if it
    is the snapshot of a repository that has.
    """
    local = Path(checkpoint.name).expanduser()
    return (str(local.resolve()), None) if local == checkpoint.folder else (checkpoint.name, checkpoint.commit)


def save_adapter(
    network: nn.Module,
    folder: Path,
    *,
    config: LoraConfig,
    checkpoint: Checkpoint,
    classes: list[str],
    preprocessing: dict[str, Any],
) -> None:
    """Write the adapters and the classifier of `network`, whose base is `checkpoint`."""
    base_name, revision = base_of(checkpoint)
    saved = copy.copy(config)
    saved.base_model_name_or_path, saved.revision, saved.inference_mode = base_name, revision, True
    described = config_of(network, folder, checkpoint=checkpoint, classes=classes, preprocessing=preprocessing)
    base = {"base": base_name, "revision": revision, "sha256": checkpoint.fingerprint}
    # config.json comes last: where it is, the adapter is whole.
    write_tensors(folder / WEIGHTS, saved_tensors(network))
    write_text(folder / CONFIG, json.dumps(_in_order(saved.to_dict()), indent=2, sort_keys=True))
    write_json(folder / "config.json", {**described, ADAPTER: base})


def _in_order(description: dict[str, Any]) -> dict[str, Any]:
    """What peft describes an adapter by, with its sets sorted, which are in another order in every process."""
    return {name: sorted(value) if isinstance(value, set) else value for name, value in description.items()}


def saved_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Adapters, classifier and, of networks with batch normalization, statistics: as peft calls them in a file."""
    head = {id(parameter) for parameter in classifier(network).parameters()}
    return {
        PREFIX + name_in_file(name): tensor
        for name, tensor in network.state_dict(keep_vars=True).items()
        if ".lora_" in name or id(tensor) in head or is_statistic(tensor)
    }


def is_statistic(tensor: Tensor) -> bool:
    """Whether this entry of a state dict is one that training moves without a gradient."""
    return not isinstance(tensor, nn.Parameter) and tensor.is_floating_point()


def name_in_file(name: str) -> str:
    """A tensor's name as peft's files have it: without the adapter's, and without the last part of a magnitude's."""
    name = name.replace(f".{lora.ADAPTER}.", ".")
    return name.removesuffix(".weight") if "lora_magnitude_vector" in name else name


def merge_adapter(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Merge the adapter in the checkpoint's folder into `network`, its base with a classifier of the right size.

    Raises:
        UserError: when the adapter is damaged, or not of this kind, or does not fit.
    """
    assert checkpoint.folder is not None
    config = read_adapter_config(checkpoint.name, checkpoint.folder / CONFIG)
    try:
        lora.attach(network, config)
    except UserError as error:
        raise UserError(f"{checkpoint.name}: {error}") from error
    own = saved_tensors(network)
    saved = tensors_of(
        checkpoint.name, checkpoint.folder / WEIGHTS, {name: tuple(tensor.shape) for name, tensor in own.items()}
    )
    with torch.no_grad():
        for name, tensor in own.items():
            if not bool(torch.isfinite(saved[name]).all()):
                raise UserError(f"{checkpoint.name}: the adapter is damaged: {name} has values that are not finite.")
            tensor.copy_(saved[name])
    for name, layer in list(lora.adapted(network)):
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            raise UserError(f"{checkpoint.name}: the adapter is damaged: at {name}, {error}.") from error
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, layer.get_base_layer())
    network.requires_grad_(True)


def read_adapter_config(name: str, file: Path) -> LoraConfig:
    """peft's description of the adapter, of which only what is understood is kept.

    Raises:
        UserError: when it is damaged, or of another kind of adapter.
    """
    try:
        stored = read_json(file)
        kind, is_plain = stored["peft_type"], _is_plain(stored)
        settings = {key: stored[key] for key in FIELDS if stored.get(key) is not None}
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{name}: {file.name} is damaged or not peft's ({shorten(repr(error), 80)}).") from error
    if kind != "LORA":
        raise UserError(
            f"{name}: expected a LoRA adapter that nfft made; found {shorten(repr(kind), 80)}. peft's others lose what "
            "they learned when they are merged into weight-standardised convolutions."
        )
    if not is_plain:
        raise UserError(f"{name}: {file.name} is damaged: expected names of layers, with ranks and factors for them.")
    config = LoraConfig(**settings)
    config._register_custom_module(lora.LAYERS)
    return config


def _is_plain(stored: dict[str, Any]) -> bool:
    """Whether the entries are such as nfft writes: names and numbers, and no expressions that take forever to match."""
    targets, (ranks, factors) = stored["target_modules"], (stored.get(key) or {} for key in PATTERNS)
    wholes, numbers = [stored["r"], *ranks.values()], [stored["lora_alpha"], *factors.values()]
    return (
        isinstance(targets, list)
        and all(isinstance(target, str) for target in targets)
        and all(re.fullmatch(LAYER, name) for name in (*ranks, *factors))
        and all(type(whole) is int for whole in wholes)
        and all(type(number) in (int, float) and abs(number) < LARGEST_FACTOR for number in numbers)
    )
