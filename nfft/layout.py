"""How a network lies in a folder: config.json and model.safetensors, as timm, transformers and the Hub read them."""

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn

from nfft import architectures, standardisation
from nfft.errors import UserError, nearest
from nfft.files import fingerprint_of, write_json, write_tensors
from nfft.vetting import REFUSED, vet_config

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
# In place of weights, an adapter has these; ADAPTER is its entry in config.json.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
ADAPTER = "nfft_adapter"
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
        base: what an adapter changes; None for a checkpoint of its own.
    """

    name: str
    architecture: str
    folder: Path | None
    config: dict[str, Any] = field(repr=False)
    base: "Checkpoint | None" = None

    @property
    def weights(self) -> str:
        """The name of the file that the weights, or changes of the base's, lie in."""
        return ADAPTER_FILES[1] if ADAPTER in self.config else "model.safetensors"

    @cached_property
    def fingerprint(self) -> str | None:
        """Hash of the weights; None for random ones."""
        if self.folder is None:
            return None
        return fingerprint_of(self.folder / self.weights)

    @property
    def commit(self) -> str | None:
        """The commit on the Hub that the folder is a snapshot of, if it is one."""
        return self.folder.name if self.folder is not None and self.folder.parent.name == "snapshots" else None

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
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: config.json is not JSON ({error}).") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise UserError(f"{name}: config.json names no timm architecture; this is not a timm checkpoint.")
    is_adapter = isinstance(config.get(ADAPTER), dict) and all((folder / each).is_file() for each in ADAPTER_FILES)
    if not (folder / "model.safetensors").is_file() and not is_adapter:
        pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
        if not pickles:
            raise UserError(f"{name}: expected config.json and model.safetensors in {folder}; there are no weights.")
        raise UserError(
            f"{name}: expected model.safetensors, found only {pickles[0]}, a pickle, which can run code when it is "
            "opened. Convert it where you trust it: load the state dict with torch.load(..., weights_only=True), then "
            "safetensors.torch.save_file(state_dict, 'model.safetensors')."
        )
    _check_architecture(name, config["architecture"])
    vet_config(name, config)
    return Checkpoint(name, config["architecture"], folder, config)


def random_weights(architecture: str, model_args: dict[str, Any]) -> Checkpoint:
    """A timm architecture to be trained from scratch."""
    import timm

    _check_architecture(f"scratch:{architecture}", architecture)
    for name in sorted(model_args.keys() & SETTLED.keys()):
        raise UserError(f"--model-arg {name}={model_args[name]} cannot be given: {SETTLED[name]}.")
    for name in sorted(model_args.keys() & REFUSED):
        raise UserError(f"--model-arg {name} cannot be given: it does not describe a network.")
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
    model: nn.Module, folder: Path, *, checkpoint: Checkpoint, classes: list[str], preprocessing: dict[str, Any]
) -> None:
    """Write config.json and model.safetensors, as timm, transformers and the Hub read them.

    Args:
        preprocessing: as `squashed` makes it, or that of a checkpoint.

    The evaluation size goes where timm and transformers both look for it (input_size).
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".saving-") as temporary:
        stage = Path(temporary)
        write_tensors(stage / "model.safetensors", model.state_dict())
        config = described(model, stage, checkpoint=checkpoint, classes=classes, preprocessing=preprocessing)
        write_json(stage / "config.json", config)
        for name in ("model.safetensors", "config.json"):
            (stage / name).replace(folder / name)


def described(
    model: nn.Module, stage: Path, *, checkpoint: Checkpoint, classes: list[str], preprocessing: dict[str, Any]
) -> dict[str, Any]:
    """The content of config.json; `stage` is a folder that timm may write to."""
    from timm.models._hub import save_config_for_hf

    labels = {"num_classes": len(classes), "label_names": list(classes)}
    save_config_for_hf(model, str(stage / "config.json"), model_config=labels, data_config=preprocessing)
    config = json.loads((stage / "config.json").read_text(encoding="utf-8"))
    _finish_config(config, checkpoint)
    return config


def squashed(checkpoint: Checkpoint, resolution: int, margin: int) -> dict[str, Any]:
    """The paper's evaluation in timm's words: resize to resolution + margin on both sides, crop the centre."""
    return {
        "input_size": (3, resolution, resolution),
        "interpolation": "bicubic",
        "mean": tuple(checkpoint.preprocessing["mean"]),
        "std": tuple(checkpoint.preprocessing["std"]),
        "crop_pct": crop_share(resolution, margin),
        "crop_mode": "squash",
    }


def stored(checkpoint: Checkpoint, resolution: int | None = None) -> dict[str, Any]:
    """The checkpoint's own evaluation, at its test size or another, in timm's words."""
    source = checkpoint.preprocessing
    side = resolution or checkpoint.test_side
    share = source.get("test_crop_pct") or source.get("crop_pct") or 0.875
    if source.get("crop_mode") == "squash" and resolution not in (None, checkpoint.test_side):
        # The margin that the authors leave is a number of px, whatever the size.
        margin = math.floor(checkpoint.test_side / share) - checkpoint.test_side
        share = crop_share(side, margin)
    return {
        "input_size": (3, side, side),
        "interpolation": source.get("interpolation", "bicubic"),
        "mean": tuple(source["mean"]),
        "std": tuple(source["std"]),
        "crop_pct": share,
        "crop_mode": source.get("crop_mode", "center"),
    }


def transform_of(preprocessing: dict[str, Any]) -> Callable[[Image.Image], Tensor]:
    """timm's own transform of an evaluation: an image of Pillow to normalised pixels (3, side, side)."""
    from timm.data import create_transform

    return create_transform(**preprocessing, is_training=False)


def pixels_of(preprocessing: dict[str, Any]) -> Callable[[Image.Image], np.ndarray]:
    """The same transform before it normalises: uint8 pixels (side, side, 3)."""
    from timm.data import create_transform

    return partial(_pixels, create_transform(**preprocessing, is_training=False, normalize=False))


def _pixels(transform: Callable[[Image.Image], Tensor], image: Image.Image) -> np.ndarray:
    return transform(image).permute(1, 2, 0).numpy()


def labels_of(checkpoint: Checkpoint) -> list[str]:
    """Names of the checkpoint's classes; those of ImageNet where it has as many and no names, as timm has it."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    names = checkpoint.config.get("label_names")
    if names:
        return list(names)
    subset = infer_imagenet_subset({"num_classes": saved_classes(checkpoint)})
    if subset is None:
        return [str(number) for number in range(saved_classes(checkpoint))]
    known = ImageNetInfo(subset)
    described = known.label_descriptions(as_dict=True)
    return [described[synset] for synset in known.label_names()]


def saved_classes(checkpoint: Checkpoint) -> int:
    """How many classes the checkpoint's own classifier tells apart."""
    return int(checkpoint.config.get("num_classes", checkpoint.preprocessing.get("num_classes", 1000)))


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
