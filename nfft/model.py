"""A timm network in, a new head on; labels and preprocessing travel with it."""

import hashlib
import json
import math
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nfft.errors import UserError, nearest
from nfft.files import write_json, write_tensors
from nfft.groups import classifier

CLASSIFIER_STD = 0.01
# For architectures that timm has no weights of: ImageNet's usual size, mean and standard deviation.
DEFAULT_PREPROCESSING = {"input_size": (3, 224, 224), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# Arguments of timm's constructors that something else decides.
SETTLED = {
    "num_classes": "the task has the classes",
    "in_chans": "images are RGB",
    "drop_rate": "it is --set dropout=...",
    "drop_path_rate": "it is --set stochastic_depth=...",
    "pretrained": "scratch: means random weights",
}


@dataclass(frozen=True)
class Checkpoint:
    """Where a network comes from.

    Attributes:
        name: what the user called it.
        architecture: timm's name.
        folder: config.json and model.safetensors; None for random weights.
        config: the content of config.json, or what timm knows of the architecture.
    """

    name: str
    architecture: str
    folder: Path | None
    config: dict[str, Any] = field(repr=False)

    @property
    def fingerprint(self) -> str | None:
        """Hash of the weights; None for random ones."""
        if self.folder is None:
            return None
        with (self.folder / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def title(self) -> str:
        """The name for a card: of a folder here, only the last part."""
        return Path(self.name).expanduser().resolve().name if Path(self.name).expanduser().is_dir() else self.name

    @property
    def preprocessing(self) -> dict[str, Any]:
        return self.config.get("pretrained_cfg", self.config)

    @property
    def train_side(self) -> int:
        return int(self.preprocessing["input_size"][-1])

    @property
    def test_side(self) -> int:
        return int((self.preprocessing.get("test_input_size") or self.preprocessing["input_size"])[-1])


def open_folder(name: str, folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, in the layout that timm saves and the Hub holds.

    Raises:
        UserError: when config.json or model.safetensors is missing or cannot be used.
    """
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise UserError(f"{name}: expected config.json and model.safetensors in {folder}; config.json is missing.")
    try:
        config = json.loads(config_file.read_text())
    except ValueError as error:
        raise UserError(f"{name}: config.json is not JSON ({error}).") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise UserError(f"{name}: config.json names no timm architecture; this is not a timm checkpoint.")
    if not (folder / "model.safetensors").is_file():
        pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
        if not pickles:
            raise UserError(f"{name}: expected config.json and model.safetensors in {folder}; there are no weights.")
        raise UserError(
            f"{name}: expected model.safetensors, found only {pickles[0]}, a pickle, which can run code when it is "
            "opened. Convert it where you trust it: load the state dict with torch.load(..., weights_only=True), then "
            "safetensors.torch.save_file(state_dict, 'model.safetensors')."
        )
    _check_architecture(name, config["architecture"])
    preprocessing = config.get("pretrained_cfg", config)
    for key in ("input_size", "mean", "std"):
        value = preprocessing.get(key) if isinstance(preprocessing, dict) else None
        if not isinstance(value, list) or len(value) != 3:
            raise UserError(
                f"{name}: expected three numbers as {key} in the pretrained_cfg of config.json, as timm writes it; "
                f"found {value!r}."
            )
    return Checkpoint(name, config["architecture"], folder, config)


def random_weights(architecture: str, model_args: dict[str, Any]) -> Checkpoint:
    """A timm architecture to be trained from scratch."""
    import timm

    _check_architecture(f"scratch:{architecture}", architecture)
    for name in model_args.keys() & SETTLED.keys():
        raise UserError(f"--model-arg {name}={model_args[name]} cannot be given: {SETTLED[name]}.")
    defaults = timm.get_pretrained_cfg(architecture)
    preprocessing = defaults.to_dict() if defaults is not None else dict(DEFAULT_PREPROCESSING)
    config = {"architecture": architecture, "model_args": model_args, "pretrained_cfg": preprocessing}
    # The licence is that of timm's weights, which are not used.
    preprocessing.pop("license", None)
    return Checkpoint(f"scratch:{architecture}", architecture, None, config)


def _check_architecture(name: str, architecture: str) -> None:
    import timm

    if not timm.is_model(architecture):
        raise UserError(
            f"{name}: timm has no architecture {architecture!r}; {nearest(architecture, timm.list_models())}"
        )


def build(checkpoint: Checkpoint, classes: Sequence[str], *, dropout: float, stochastic_depth: float) -> nn.Module:
    """The network with its weights, and a new classifier unless its own tells just `classes` apart.

    Raises:
        UserError: when the weights or arguments do not fit the architecture, or it does not take RGB
            images to one linear classifier.
    """
    # Not every network of timm's has stochastic depth: those without refuse to hear of it.
    rates = {"drop_rate": dropout, **({"drop_path_rate": stochastic_depth} if stochastic_depth else {})}
    model = _create(checkpoint, num_classes=len(classes), **rates)
    _check_ends(checkpoint, model)
    if not keeps_classifier(checkpoint, classes):
        initialise_classifier(model)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _create(checkpoint: Checkpoint, **settings: Any) -> nn.Module:
    import timm

    # timm checks little: what does not fit fails as anything, asserts and errors of safetensors among them.
    try:
        if checkpoint.folder is not None:
            return timm.create_model(f"local-dir:{checkpoint.folder}", pretrained=True, **settings)
        return timm.create_model(checkpoint.architecture, **{**(checkpoint.config.get("model_args") or {}), **settings})
    except Exception as error:
        reason = textwrap.shorten(str(error), 200, placeholder=" ...") or type(error).__name__
        if checkpoint.folder is None:
            raise UserError(f"{checkpoint.name} cannot be made: {reason.rstrip('.')}. Check --model-arg.") from error
        raise UserError(
            f"{checkpoint.name}: the weights do not fit {checkpoint.architecture}, which config.json names: {reason}"
        ) from error


def keeps_classifier(checkpoint: Checkpoint, classes: Sequence[str]) -> bool:
    """Whether the checkpoint's own classifier tells just these classes apart, as far as it names its own."""
    if checkpoint.folder is None:
        return False
    names = checkpoint.config.get("label_names")
    return list(names) == list(classes) if names else saved_classes(checkpoint) == len(classes)


def saved_classes(checkpoint: Checkpoint) -> int:
    """How many classes the checkpoint's own classifier tells apart."""
    return int(checkpoint.config.get("num_classes", checkpoint.preprocessing.get("num_classes", 1000)))


def _check_ends(checkpoint: Checkpoint, model: nn.Module) -> None:
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and first.in_channels != 3:
        raise UserError(
            f"{checkpoint.name}: expected a network for RGB images; its first layer takes {first.in_channels} channels."
        )
    head = classifier(model)
    if not isinstance(head, nn.Linear):
        raise UserError(
            f"{checkpoint.name}: expected a network with one linear classifier; "
            f"{checkpoint.architecture} ends in {type(head).__name__}."
        )


def initialise_classifier(model: nn.Module) -> None:
    """Classifier weight from N(0, 0.01²), bias 0.

    Source: the authors' `nfnet.py`.
    Differs: timm's reset_classifier leaves torch's default, uniform in ±1/sqrt(fan_in).
    """
    head = classifier(model)
    nn.init.normal_(head.weight, std=CLASSIFIER_STD)
    nn.init.zeros_(head.bias)


def is_normalized(model: nn.Module) -> bool:
    """Whether the network has batch normalisation."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def smallest_side(model: nn.Module) -> int:
    """How many times the network shrinks an image: below this many px its last stage sees less than a pixel."""
    info = getattr(model, "feature_info", None)
    return max((int(stage["reduction"]) for stage in info), default=1) if isinstance(info, list) else 1


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 images (n, 3, h, w) to floats with the checkpoint's mean and standard deviation (3, 1, 1)."""
    return images.float().div_(255).sub_(mean).div_(std)


def save(
    model: nn.Module, folder: Path, *, checkpoint: Checkpoint, classes: list[str], resolution: int, margin: int
) -> None:
    """Write config.json and model.safetensors, as timm, transformers and the Hub read them.

    The evaluation size goes where timm and transformers both look for it (input_size).
    """
    from timm.models._hub import save_config_for_hf

    source = checkpoint.preprocessing
    preprocessing = {
        "input_size": (3, resolution, resolution),
        "interpolation": "bicubic",
        "mean": tuple(source["mean"]),
        "std": tuple(source["std"]),
        "crop_pct": crop_share(resolution, margin),
        "crop_mode": "squash",
    }
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        stage = Path(temporary)
        write_tensors(stage / "model.safetensors", model.state_dict())
        labels = {"num_classes": len(classes), "label_names": list(classes)}
        save_config_for_hf(model, str(stage / "config.json"), model_config=labels, data_config=preprocessing)
        config = json.loads((stage / "config.json").read_text())
        _finish_config(config, checkpoint)
        write_json(stage / "config.json", config)
        for name in ("model.safetensors", "config.json"):
            (stage / name).replace(folder / name)


def _finish_config(config: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Leave out what describes the source checkpoint or this training run rather than the network."""
    args = {**(checkpoint.config.get("model_args") or {}), **config.get("model_args", {})}
    # transformers passes num_classes itself and fails on a second one; the rates belong to training.
    for name in ("num_classes", "drop_rate", "drop_path_rate"):
        args.pop(name, None)
    config["model_args"] = args
    sizes = ("test_input_size", "pool_size", "test_pool_size")
    for name in ("tag", "origin_url", "paper_ids", "paper_name", "label_names", "label_descriptions", *sizes):
        config["pretrained_cfg"].pop(name, None)
    # timm writes the licence of its own weights, whether they were used or not.
    if checkpoint.preprocessing.get("license") is None:
        config["pretrained_cfg"].pop("license", None)


def crop_share(resolution: int, margin: int) -> float:
    """timm's crop_pct for resizing to resolution + margin: it computes floor(resolution / crop_pct)."""
    share = resolution / (resolution + margin)
    return share if math.floor(resolution / share) == resolution + margin else math.nextafter(share, 0)
