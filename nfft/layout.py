"""How a network lies in a folder: config.json and model.safetensors, as timm, transformers and the Hub read them."""

import hashlib
import json
import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from nfft import architectures, standardisation
from nfft.errors import UserError, nearest
from nfft.files import write_json, write_tensors

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
# Arguments that belong to a training run; and transformers passes num_classes itself, and fails on a second one.
RUNS = ("num_classes", "drop_rate", "drop_path_rate")


@dataclass(frozen=True)
class Checkpoint:
    """Where a network comes from.

    Attributes:
        name: what the user called it.
        architecture: timm's name, or one of nfft.architectures.
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
    def timm_name(self) -> str:
        """The architecture in timm's own terms, with `arguments`: whoever loads it later may not have nfft."""
        return architectures.in_timm(self.architecture)[0]

    @property
    def arguments(self) -> dict[str, Any]:
        """Of timm's constructor, without those that belong to a training run."""
        args = {**architectures.in_timm(self.architecture)[1], **(self.config.get("model_args") or {})}
        for name in RUNS:
            args.pop(name, None)
        authors = self.is_authors or self.folder is None
        return {**args, **standardisation.arguments(self.timm_name, args, authors=authors)}

    @property
    def is_authors(self) -> bool:
        """Whether the weights are as the paper's authors trained them."""
        return self.folder is not None and standardisation.are_authors(self.architecture, self.config)

    @property
    def is_normalizer_free(self) -> bool:
        import timm

        return timm.models.is_model_in_modules(self.timm_name, ["nfnet"])

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
    config["architecture"] = checkpoint.timm_name
    recorded = {name: value for name, value in config.get("model_args", {}).items() if name not in RUNS}
    config["model_args"] = {**recorded, **checkpoint.arguments}
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
