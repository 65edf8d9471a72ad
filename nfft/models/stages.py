"""A classifier that sees what every stage of a network makes of an image, not the last layer alone.

timm has no name for such a network. It is saved as two: model.safetensors is the standard network with a classifier of
its last layer, which timm and transformers load; the classifier over all stages lies beside it in a file of its own,
of which config.json says to which weights it belongs.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nfft.errors import UserError
from nfft.files import fingerprint_of
from nfft.models.tensors import write_tensors
from nfft.models.validation import tensors_of
from nfft.optim.param_groups import classifier
from nfft.text import shorten

# The file, and the entry in config.json.
STAGE_HEAD = "stage_head.safetensors"
STAGES = "nfft_stages"
MOST_STAGES = 256
# Beyond, what relates every feature to every other takes gigabytes, and its axes an hour.
MOST_FEATURES = 16_384
LAST, BIAS = "last.weight", "bias"


@dataclass(frozen=True)
class StageEntry:
    """What config.json says of a classifier over several stages.

    Attributes:
        stages: which, as timm's `forward_intermediates` counts them, ascending; the last layer is always with them.
        sha256: of the file of the classifier.
        weights: SHA-256 of model.safetensors, to whose features it was fitted.
    """

    stages: tuple[int, ...]
    sha256: str
    weights: str

    def to_json(self) -> dict[str, Any]:
        return {"stages": list(self.stages), "sha256": self.sha256, "weights": self.weights}


def entry_from(name: str, config: dict[str, Any]) -> StageEntry | None:
    """What the config.json of checkpoint `name` says; None where it says nothing.

    Raises:
        UserError: for an entry that nfft would not have written.
    """
    if STAGES not in config:
        return None
    stored = config[STAGES]
    stages, sha256, weights = (
        (stored.get(key) for key in ("stages", "sha256", "weights")) if isinstance(stored, dict) else [None] * 3
    )
    if not (_are_places(stages) and isinstance(sha256, str) and isinstance(weights, str)):
        raise UserError(
            f"{name}: {STAGES} in config.json must have stages, ascending whole numbers, and two hashes; found "
            f"{shorten(repr(stored), 80)}. Fetch it again, or take that entry out: the last layer's classifier is left."
        )
    assert stages is not None
    return StageEntry(tuple(stages), sha256, weights)


def _are_places(stages: Any) -> bool:
    if not isinstance(stages, list) or not 1 <= len(stages) <= MOST_STAGES:
        return False
    if not all(type(place) is int and 0 <= place < MOST_STAGES for place in stages):
        return False
    return stages == sorted(set(stages))


class StagedNetwork(nn.Module):
    """timm's network with one linear classifier over the activations of several stages, and its last features.

    Args:
        body: timm's network, whose own classifier is not used.
        widths: how many features there are of each of the stages, as its `forward_intermediates` counts them.
        head: features of all, in that order, the last layer's at the end -> logits.

    Source: arXiv 2201.03529, for the idea; there, single features of every layer are chosen.
    """

    def __init__(self, body: nn.Module, widths: Mapping[int, int], head: nn.Linear) -> None:
        super().__init__()
        self.body, self.widths, self.head = body, dict(widths), head

    @property
    def stages(self) -> tuple[int, ...]:
        return tuple(self.widths)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Normalized images (n, 3, side, side) -> features of the stages and the last layer (n, width)."""
        return stage_features(self.body, self.stages, pixels)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return features if pre_logits else self.head(features)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.forward_features(pixels))

    def get_classifier(self) -> nn.Linear:
        return self.head

    @property
    def num_features(self) -> int:
        return self.head.in_features

    @property
    def feature_info(self) -> Any:
        return getattr(self.body, "feature_info", None)


def stage_features(body: Any, stages: Sequence[int], pixels: Tensor) -> Tensor:
    """Means and peaks of each stage's activations, and what the network's own classifier gets: one pass, (n, width).

    Networks without normalization activate at the start of a block, so a stage ends in what no activation has seen.
    """
    final, maps = body.forward_intermediates(pixels, indices=[*stages])
    activated = getattr(body, "final_act", None) or nn.Identity()
    pooled = [pool for each in map(activated, maps) for pool in (each.mean((2, 3)), each.amax((2, 3)))]
    return torch.cat([*pooled, body.forward_head(final, pre_logits=True).flatten(1)], 1)


def widths_of(architecture: str, network: nn.Module, side: int) -> dict[int, int]:
    """The stages of timm's network that a classifier can see beside its last layer, and how many features each has.

    The stem, of edges and colors, is not among them, and the last stage is what the last layer is made of.

    Args:
        side: px of the images that it takes.

    Raises:
        UserError: for a network that does not show its stages, or has too many.
    """
    outline: Any = copy.deepcopy(network).to("meta").eval()
    try:
        with torch.no_grad():
            maps = outline.forward_intermediates(torch.empty(1, 3, side, side, device="meta"))[1]
    except Exception:
        maps = []
    if len(maps) < 3 or any(each.ndim != 4 for each in maps):
        raise UserError(
            f"{architecture} does not show what its stages make of an image. Leave method.stages out, and the "
            "classifier sees the last layer."
        )
    widths = {place: 2 * int(each.shape[1]) for place, each in enumerate(maps) if 0 < place < len(maps) - 1}
    if sum(widths.values()) > MOST_FEATURES:
        raise UserError(
            f"the stages of {architecture} have {sum(widths.values()):,} features, and a classifier can be fitted to "
            f"{MOST_FEATURES:,}. Leave method.stages out, and the classifier sees the last layer."
        )
    return widths


def write_head(network: StagedNetwork, folder: Path) -> StageEntry:
    """Write the classifier of a network whose model.safetensors is in `folder`; returns the entry for config.json."""
    widths = [*network.widths.values()]
    parts = network.head.weight.split([*widths, network.num_features - sum(widths)], 1)
    names = [*map(_name, network.stages), LAST]
    write_tensors(folder / STAGE_HEAD, {**dict(zip(names, parts, strict=True)), BIAS: network.head.bias})
    return StageEntry(network.stages, fingerprint_of(folder / STAGE_HEAD), fingerprint_of(folder / "model.safetensors"))


def with_head(name: str, folder: Path, entry: StageEntry, network: nn.Module, side: int) -> StagedNetwork:
    """The network of checkpoint `name` in `folder` with its classifier over several stages.

    Args:
        network: timm's, with the weights in model.safetensors.
        side: px of the images that it takes.

    Raises:
        UserError: for a classifier that is damaged, or of another network.
    """
    file = folder / STAGE_HEAD
    for path, digest in ((file, entry.sha256), (folder / "model.safetensors", entry.weights)):
        if fingerprint_of(path) != digest:
            raise UserError(
                f"{name}: {path.name} is not the one that {STAGES} in config.json speaks of: their hashes differ. "
                "Fetch all files again."
            )
    widths = widths_of(name, network, side)
    if not set(entry.stages) <= widths.keys():
        raise UserError(f"{name}: {STAGES} in config.json names stages that the network does not have.")
    own = classifier(network)
    classes, last = own.weight.shape[:2]
    shapes = {_name(place): (classes, widths[place]) for place in entry.stages} | {LAST: (classes, last)}
    stored = tensors_of(name, file, {**shapes, BIAS: (classes,)})
    for key, tensor in stored.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{name}: {STAGE_HEAD} is damaged: {key} has values that are not finite.")
    weight = torch.cat([stored[key].float() for key in shapes], 1)
    chosen = {place: widths[place] for place in entry.stages}
    return StagedNetwork(network, chosen, linear(weight, stored[BIAS].float()))


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A classifier with this weight (classes, width) and bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer


def _name(place: int) -> str:
    return f"stages.{place}.weight"
