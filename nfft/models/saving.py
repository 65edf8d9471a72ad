"""Writes config.json and model.safetensors, as timm, transformers and the Hub read them."""

import json
from pathlib import Path
from typing import Any

from timm.models._hub import save_config_for_hf
from torch import nn

from nfft.data.rendering import ENTRY
from nfft.files import read_json, scratch, write_json
from nfft.models.checkpoint import RUN_ARGUMENTS, Checkpoint
from nfft.models.stages import STAGES, StagedNetwork, write_head
from nfft.models.tensors import write_tensors


def save_network(
    model: nn.Module, folder: Path, *, checkpoint: Checkpoint, classes: list[str], preprocessing: dict[str, Any]
) -> None:
    """Write config.json and model.safetensors, as timm, transformers and the Hub read them.

    Args:
        model: timm's, or one whose classifier sees several stages: that classifier gets a file of its own.
        preprocessing: as `squash_preprocessing` has it, or that of a checkpoint.

    The evaluation size goes where timm and transformers both look for it (input_size).
    """
    network = model.body if isinstance(model, StagedNetwork) else model
    config = config_of(network, folder, checkpoint=checkpoint, classes=classes, preprocessing=preprocessing)
    # config.json comes last: where it is, the network is whole.
    write_tensors(folder / "model.safetensors", network.state_dict())
    if isinstance(model, StagedNetwork):
        config[STAGES] = write_head(model, folder).to_json()
    write_json(folder / "config.json", config)


def config_of(
    model: nn.Module, folder: Path, *, checkpoint: Checkpoint, classes: list[str], preprocessing: dict[str, Any]
) -> dict[str, Any]:
    """The content of config.json, which is to lie in `folder`."""
    labels = {"num_classes": len(classes), "label_names": list(classes)}
    # timm has it only as a file.
    with scratch(folder / "config.json") as file:
        save_config_for_hf(model, file, model_config=labels)  # type: ignore[arg-type]
        config = read_json(file)
    # Put in here: timm takes preprocessing since 1.0.31, which many cannot have for a timm that others pin.
    config["pretrained_cfg"] |= json.loads(json.dumps(preprocessing))
    _finish_config(config, checkpoint)
    return config


def _finish_config(config: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Leave out what describes the source checkpoint or this training run rather than the network."""
    config["architecture"] = checkpoint.timm_name
    recorded = {name: value for name, value in config.get("model_args", {}).items() if name not in RUN_ARGUMENTS}
    config["model_args"] = {**recorded, **checkpoint.arguments}
    sizes = ("test_input_size", "test_crop_pct", "pool_size", "test_pool_size")
    for name in ("tag", "origin_url", "paper_ids", "paper_name", "label_names", "label_descriptions", *sizes):
        config["pretrained_cfg"].pop(name, None)
    if ENTRY in checkpoint.config:
        config[ENTRY] = checkpoint.config[ENTRY]
    # timm writes the license of its own weights, whether they were used or not.
    if checkpoint.preprocessing.get("license") is None:
        config["pretrained_cfg"].pop("license", None)
