"""An adapter's folder, in peft's format: adapter_config.json and adapter_model.safetensors, a few MB beside their base.

config.json describes the network as it answers with the adapter, and names the base and the hash of its weights: on
another base the changes would mean nothing.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn

from nfft import layout, lora
from nfft.errors import UserError
from nfft.files import write_json, write_tensors
from nfft.groups import classifier
from nfft.layout import Checkpoint
from nfft.vetting import tensors_of

CONFIG, WEIGHTS = layout.ADAPTER_FILES
PREFIX = "base_model.model."
# What of adapter_config.json describes the adapter; anything else is peft's business with other libraries.
READ = ("r", "lora_alpha", "use_dora", "use_rslora", "target_modules", "rank_pattern", "alpha_pattern")


def save(
    network: nn.Module,
    folder: Path,
    *,
    config: LoraConfig,
    checkpoint: Checkpoint,
    classes: list[str],
    preprocessing: dict[str, Any],
) -> None:
    """Write the adapters and the classifier of `network`, whose base is `checkpoint`."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        stage = Path(temporary)
        described = layout.described(
            network, stage, checkpoint=checkpoint, classes=classes, preprocessing=preprocessing
        )
        base = {"base": checkpoint.name, "revision": checkpoint.commit, "sha256": checkpoint.fingerprint}
        write_json(stage / "config.json", {**described, layout.ADAPTER: base})
        config.base_model_name_or_path, config.revision = checkpoint.name, checkpoint.commit
        config.inference_mode = True
        config.save_pretrained(str(stage))
        write_tensors(stage / WEIGHTS, saved_tensors(network))
        for name in (WEIGHTS, CONFIG, "config.json"):
            (stage / name).replace(folder / name)


def saved_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Adapters and classifier under the names that peft gives them in a file."""
    head = {id(parameter) for parameter in classifier(network).parameters()}
    return {
        PREFIX + in_file(name): parameter
        for name, parameter in network.named_parameters()
        if ".lora_" in name or id(parameter) in head
    }


def in_file(name: str) -> str:
    """peft leaves the adapter's name out of a file, and the last part of a magnitude's."""
    name = name.replace(f".{lora.ADAPTER}.", ".")
    return name.removesuffix(".weight") if "lora_magnitude_vector" in name else name


def merge_into(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Add the adapter in the checkpoint's folder to `network`, its base with a classifier of the right size.

    Raises:
        UserError: when the adapter is damaged, or not of this kind, or does not fit.
    """
    assert checkpoint.folder is not None
    config = read_config(checkpoint.name, checkpoint.folder / CONFIG)
    try:
        lora.attach(network, config)
    except ValueError as error:
        raise UserError(f"{checkpoint.name}: the adapter does not fit its base: {error}.") from error
    own = {PREFIX + in_file(name): parameter for name, parameter in network.named_parameters()}
    wanted = {name: own[name] for name in saved_tensors(network)}
    found = tensors_of(
        checkpoint.name, checkpoint.folder / WEIGHTS, {name: tuple(t.shape) for name, t in wanted.items()}
    )
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(found[name])
    for name, layer in list(lora.adapted(network)):
        layer.merge(safe_merge=True)
        parent, _, last = name.rpartition(".")
        setattr(network.get_submodule(parent), last, layer.get_base_layer())
    network.requires_grad_(True)


def read_config(name: str, file: Path) -> LoraConfig:
    """peft's description of the adapter, of what is understood alone.

    Raises:
        UserError: when it is damaged, or of another kind of adapter.
    """
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        kind, targets = stored["peft_type"], stored["target_modules"]
        given = {key: stored[key] for key in READ if stored.get(key) is not None}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(f"{name}: {file.name} is damaged or not peft's ({error}).") from error
    plain = isinstance(targets, list) and all(isinstance(each, str) for each in targets)
    if kind != "LORA" or not plain or not isinstance(stored.get("r"), int):
        raise UserError(
            f"{name}: expected a LoRA adapter that nfft made; found {kind!r}. Others are wrong on these convolutions."
        )
    config = LoraConfig(**given)
    config._register_custom_module(lora.LAYERS)
    return config
