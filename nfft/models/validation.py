"""Checkpoints from strangers are data: what their config.json and weights may say before anything is built of them."""

import math
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from nfft.errors import UserError
from nfft.text import shorten

LARGEST = {"side": 4096, "classes": 1_000_000, "number": 100_000, "blocks": 1_000}
LARGEST_NUMBER = 10**15
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")
# Arguments of timm's constructors that fetch, open or call something.
REFUSED = {
    "cache_dir", "checkpoint_path", "device", "dtype", "feature_cfg", "features_only", "kwargs_filter", "model_cfg",
    "pretrained",
    "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_custom_load", "pretrained_filter_fn", "scriptable",
}  # fmt: skip
DEPTHS = ("depth", "layer", "block", "stage", "repeat")
FLOATS = ("F64", "F32", "F16", "BF16")
SHOWN = 3


def validate_config(name: str, config: dict[str, Any]) -> None:
    """See that the numbers of a config.json are such as a classifier of images can have.

    Raises:
        UserError: naming the entry, what was expected and what was found.
    """
    preprocessing = config.get("pretrained_cfg", config)
    preprocessing = preprocessing if isinstance(preprocessing, dict) else {}
    _validate_channels(name, config, preprocessing)
    for key in ("input_size", "mean", "std"):
        value = preprocessing.get(key)
        if not isinstance(value, list) or len(value) != 3 or not all(map(_is_number, value)):
            raise UserError(
                f"{name}: expected three numbers as {key} in the pretrained_cfg of config.json, as timm writes it; "
                f"found {_shown(value)}."
            )
    if not all(1e-4 <= value <= 1e4 for value in preprocessing["std"]):
        raise UserError(f"{name}: std in config.json must be above 0; found {preprocessing['std']}.")
    for key, known in (("interpolation", INTERPOLATIONS), ("crop_mode", CROP_MODES)):
        if preprocessing.get(key, known[0]) not in known:
            raise UserError(f"{name}: {key} in config.json must be one of timm's; found {_shown(preprocessing[key])}.")
    if not isinstance(preprocessing.get("license"), (str, type(None))):
        raise UserError(f"{name}: license in config.json must be text; found {_shown(preprocessing['license'])}.")
    for key in ("input_size", "test_input_size"):
        size = preprocessing.get(key) or preprocessing["input_size"]
        if not (isinstance(size, list) and len(size) == 3 and all(_is_whole(side, LARGEST["side"]) for side in size)):
            raise UserError(
                f"{name}: {key} in config.json must be three whole numbers up to {LARGEST['side']}; "
                f"found {_shown(size)}."
            )
    for key in ("crop_pct", "test_crop_pct"):
        share = preprocessing.get(key)
        if share is not None and not (_is_number(share) and 0.3 <= share <= 2):
            raise UserError(f"{name}: {key} in config.json must be between 0.3 and 2; found {_shown(share)}.")
    _validate_classes(name, config, preprocessing)
    _validate_arguments(name, config.get("model_args") or {})


def _validate_channels(name: str, config: dict[str, Any], preprocessing: dict[str, Any]) -> None:
    arguments, size = config.get("model_args"), preprocessing.get("input_size")
    channels = arguments.get("in_chans") if isinstance(arguments, dict) else None
    if channels is None and isinstance(size, list) and len(size) == 3:
        channels = size[0]
    if isinstance(channels, int) and _is_whole(channels, LARGEST["number"]) and channels != 3:
        raise UserError(
            f"{name}: it takes pictures of {channels} channel{'s' if channels > 1 else ''}, and nfft shows RGB only. "
            "Use a checkpoint of three channels."
        )


def _validate_classes(name: str, config: dict[str, Any], preprocessing: dict[str, Any]) -> None:
    classes = config.get("num_classes", preprocessing.get("num_classes", 1000))
    if not _is_whole(classes, LARGEST["classes"]):
        raise UserError(
            f"{name}: num_classes in config.json must be from 1 to {LARGEST['classes']:,}; found {_shown(classes)}."
        )
    names = config.get("label_names")
    if names is None:
        return
    if not isinstance(names, list) or not all(isinstance(label, str) and _is_text(label) for label in names):
        raise UserError(f"{name}: label_names in config.json must be a list of names; found {_shown(names)}.")
    if len(names) != classes:
        raise UserError(f"{name}: config.json has {len(names)} label_names for {classes} classes; they must agree.")


def _validate_arguments(name: str, arguments: Any) -> None:
    if not isinstance(arguments, dict):
        raise UserError(f"{name}: model_args in config.json must be names with values; found {_shown(arguments)}.")
    for key, value in arguments.items():
        if key in REFUSED:
            raise UserError(f"{name}: model_args in config.json must describe a network; {key} is refused.")
        counts = value if isinstance(value, list) else [value]
        counted = any(word in key for word in DEPTHS) and all(map(_is_number, counts))
        blocks = sum(counts) if counted else 0
        if "eps" in key and value is not None and not (_is_number(value) and 0 < value <= 1):
            raise UserError(f"{name}: {key} in config.json must be above 0 and at most 1; found {_shown(value)}.")
        if not _is_modest(value) or blocks > LARGEST["blocks"]:
            raise UserError(
                f"{name}: model_args in config.json has an absurd value: {shorten(key, 80)}={_shown(value)}."
            )


def validate_weights(name: str, file: Path, network: nn.Module) -> None:
    """See that the file holds what `network` needs, before any of it is read.

    Args:
        network: on the meta device, as config.json describes it.

    Raises:
        UserError: naming what differs.
    """
    expected = {key: (tuple(tensor.shape), tensor.is_floating_point()) for key, tensor in network.state_dict().items()}
    _compare(name, expected, _header(name, file))


def tensors_of(name: str, file: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a file, which must be real numbers of these shapes, and no others.

    Raises:
        UserError: naming what differs.
    """
    _compare(name, {key: (shape, True) for key, shape in shapes.items()}, _header(name, file))
    with safe_open(file, framework="pt") as tensors:
        return {key: tensors.get_tensor(key) for key in shapes}


def _header(name: str, file: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and types of the tensors in a file."""
    try:
        with safe_open(file, framework="pt") as tensors:
            slices = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118
            return {key: (tuple(part.get_shape()), part.get_dtype()) for key, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{name}: {file.name} is damaged ({error}). Fetch it again.") from error


def _compare(
    name: str, expected: dict[str, tuple[tuple[int, ...], bool]], header: dict[str, tuple[tuple[int, ...], str]]
) -> None:
    """See that a file has the tensors that are expected: shape, and whether they are real numbers, by name."""
    header = {shorten(key, 80): entry for key, entry in header.items()}
    differences = [f"{key} is missing" for key in expected.keys() - header.keys()]
    differences += [f"{key} is not part of it" for key in header.keys() - expected.keys()]
    for key in expected.keys() & header.keys():
        (shape, floating), (its_shape, its_type) = expected[key], header[key]
        if shape != its_shape:
            differences.append(f"{key} must be {list(shape)} and is {list(its_shape)}")
        elif floating != (its_type in FLOATS):
            differences.append(f"{key} must be of {'real' if floating else 'whole'} numbers and is {its_type}")
    if differences:
        more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise UserError(
            f"{name}: the weights do not fit the network that config.json describes: "
            f"{'; '.join(sorted(differences)[:SHOWN])}{more}."
        )


def validate_finite(name: str, network: nn.Module) -> None:
    """See that every weight that was read is a number.

    Raises:
        UserError: naming the first that is not.
    """
    for key, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{name}: the weights are damaged: {key} has values that are not finite.")


def check_finite(name: str, answers: Tensor) -> None:
    """See that what a network says of images are numbers.

    Raises:
        UserError: when they are not: of weights that are too large, sums overflow.
    """
    if not bool(torch.isfinite(answers).all()):
        raise UserError(
            f"{name}: what it says of images are no finite numbers: its weights are damaged, or too large for this "
            "precision. Use another checkpoint."
        )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < LARGEST_NUMBER if isinstance(value, int) else math.isfinite(value)


def _is_text(value: str) -> bool:
    """Whether it can be written at all: JSON may hold halves of characters."""
    return value.isascii() or re.search("[\ud800-\udfff]", value) is None


def _is_whole(value: Any, largest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= largest


def _is_modest(value: Any) -> bool:
    if isinstance(value, dict):
        return len(value) <= 64 and all(isinstance(key, str) and _is_modest(entry) for key, entry in value.items())
    if isinstance(value, list):
        return len(value) <= 64 and all(map(_is_modest, value))
    if isinstance(value, str):
        return len(value) <= 64
    return value is None or isinstance(value, bool) or (_is_number(value) and abs(value) <= LARGEST["number"])


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of over 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
