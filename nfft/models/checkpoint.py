"""A checkpoint: config.json and model.safetensors in a folder, as timm, transformers and the Hub read them."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
from timm.data import ImageNetInfo, infer_imagenet_subset

from nfft.data.rendering import ENTRY, Rendering, rendering_from
from nfft.errors import UserError, nearest
from nfft.files import fingerprint_of, read_json
from nfft.models import architectures
from nfft.models.stages import STAGE_HEAD, STAGES, StageEntry, entry_from
from nfft.models.validation import REFUSED, validate_config
from nfft.models.weight_standardization import are_authors, standardization_arguments
from nfft.text import is_deep, shorten

# For architectures that timm has no weights of: ImageNet's usual size, mean and standard deviation.
DEFAULT_PREPROCESSING = {"input_size": (3, 224, 224), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
# Arguments of timm's constructors that something else decides, and what.
DECIDED_ELSEWHERE = {
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
RUN_ARGUMENTS = ("num_classes", "drop_rate", "drop_path_rate")


@dataclass(frozen=True)
class Checkpoint:
    """The weights and description that a network is built from.

    Attributes:
        name: as the user wrote it.
        architecture: timm's name, or one of those that nfft.models.architectures adds.
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
        """Name of the file of the weights, or of changes of the base's; of a classifier over all stages, its own.

        That of such a classifier has the hash of the network's weights beside it.
        """
        if ADAPTER in self.config:
            return ADAPTER_FILES[1]
        return STAGE_HEAD if self.stages is not None else "model.safetensors"

    @property
    def stages(self) -> StageEntry | None:
        """What there is of a classifier over several stages, beside the network's own."""
        return entry_from(self.name, self.config)

    @property
    def plain(self) -> "Checkpoint":
        """The same without such a classifier: the network with its own, as timm loads it."""
        if STAGES not in self.config:
            return self
        return replace(self, config={key: value for key, value in self.config.items() if key != STAGES})

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
        """The name for a card: of a folder, only the last part."""
        return Path(self.name).expanduser().resolve().name if Path(self.name).expanduser().is_dir() else self.name

    @property
    def timm_name(self) -> str:
        """The architecture in timm's own terms, with `arguments`: whoever loads it later may not have nfft."""
        return architectures.in_timm(self.architecture)[0]

    @property
    def arguments(self) -> dict[str, Any]:
        """Of timm's constructor, without those that belong to a training run."""
        args = {**architectures.in_timm(self.architecture)[1], **(self.config.get("model_args") or {})}
        for name in RUN_ARGUMENTS:
            args.pop(name, None)
        authors = self.is_authors or self.folder is None
        return {**args, **standardization_arguments(self.timm_name, args, authors=authors)}

    @property
    def is_authors(self) -> bool:
        """Whether the weights are as the paper's authors trained them."""
        return self.folder is not None and are_authors(self.architecture, self.config)

    @property
    def is_normalizer_free(self) -> bool:
        return timm.models.is_model_in_modules(self.timm_name, ["nfnet"])

    @property
    def preprocessing(self) -> dict[str, Any]:
        return self.config.get("pretrained_cfg", self.config)

    @property
    def rendering(self) -> Rendering:
        """How the pictures that the weights were trained on were shown."""
        return rendering_from(self.name, self.config.get(ENTRY))

    def rendered_as(self, rendering: Rendering) -> "Checkpoint":
        """The same, to be saved with weights that were trained on pictures shown so."""
        config = {key: value for key, value in self.config.items() if key != ENTRY}
        stored = rendering.to_json()
        if stored == self.config.get(ENTRY, {}):
            return self
        return replace(self, config={**config, ENTRY: stored} if stored else config)

    @property
    def train_side(self) -> int:
        return int(self.preprocessing["input_size"][-1])

    @property
    def test_side(self) -> int:
        return int((self.preprocessing.get("test_input_size") or self.preprocessing["input_size"])[-1])


def open_checkpoint(name: str, folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, in the layout that timm saves and the Hub holds.

    Raises:
        UserError: when config.json or model.safetensors is missing or cannot be used.
    """
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise UserError(f"{name}: expected config.json and model.safetensors in {folder}; config.json is missing.")
    try:
        config = read_json(config_file)
    except (ValueError, OSError) as error:
        raise UserError(f"{name}: config.json is not JSON ({error}).") from error
    if is_deep(config):
        raise UserError(f"{name}: config.json has lists in lists too deep for any network; this is no checkpoint.")
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise UserError(f"{name}: config.json names no timm architecture; this is not a timm checkpoint.")
    is_adapter = isinstance(config.get(ADAPTER), dict) and all((folder / file).is_file() for file in ADAPTER_FILES)
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
    validate_config(name, config)
    rendering_from(name, config.get(ENTRY))
    if entry_from(name, config) is not None:
        _check_stages(name, folder, is_adapter=ADAPTER in config)
    return Checkpoint(name, config["architecture"], folder, config)


def _check_stages(name: str, folder: Path, *, is_adapter: bool) -> None:
    """See that what config.json says of a classifier over several stages can be true of the files in `folder`."""
    if is_adapter:
        raise UserError(
            f"{name}: config.json speaks of an adapter and of a classifier over several stages; nfft makes no network "
            f"with both. Take {STAGES} out of it, and the adapter's classifier answers."
        )
    for file in (STAGE_HEAD, "model.safetensors"):
        if not (folder / file).is_file():
            raise UserError(
                f"{name}: config.json speaks of a classifier over several stages, and {file} is missing. Fetch all "
                f"files again; or take {STAGES} out of config.json, and the last layer's classifier answers."
            )


def random_checkpoint(architecture: str, model_args: dict[str, Any]) -> Checkpoint:
    """A timm architecture to be trained from scratch."""
    _check_architecture(f"scratch:{architecture}", architecture)
    for name in sorted(model_args.keys() & DECIDED_ELSEWHERE.keys()):
        raise UserError(f"--model-arg {name}={model_args[name]} cannot be given: {DECIDED_ELSEWHERE[name]}.")
    for name in sorted(model_args.keys() & REFUSED):
        raise UserError(f"--model-arg {name} cannot be given: it does not describe a network.")
    defaults = timm.get_pretrained_cfg(architecture)
    preprocessing = defaults.to_dict() if defaults is not None else dict(DEFAULT_PREPROCESSING)
    config = {"architecture": architecture, "model_args": model_args, "pretrained_cfg": preprocessing}
    # The license is that of timm's weights, which are not used.
    preprocessing.pop("license", None)
    return Checkpoint(f"scratch:{architecture}", architecture, None, config)


def _check_architecture(name: str, architecture: str) -> None:
    if not timm.is_model(architecture):
        raise UserError(
            f"{shorten(name, 200)}: timm has no architecture {shorten(repr(architecture), 80)}; "
            f"{nearest(architecture, timm.list_models())}"
        )


def labels_of(checkpoint: Checkpoint) -> list[str]:
    """Names of the checkpoint's classes; those of ImageNet where it has as many and no names, as timm has it."""
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
