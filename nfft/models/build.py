"""A network ready to be fine-tuned: a checkpoint's weights, a new head, the paper's regularization."""

import textwrap
from collections.abc import Sequence
from typing import Any

import timm
import torch
from safetensors.torch import load_model
from timm.layers import DropPath
from timm.models.nfnet import NormFreeBlock
from torch import Tensor, nn

from nfft.errors import UserError
from nfft.models.checkpoint import Checkpoint, saved_classes
from nfft.models.stages import with_head
from nfft.models.validation import validate_finite, validate_weights
from nfft.models.weight_standardization import settle_gains
from nfft.optim.param_groups import classifier

CLASSIFIER_STD = 0.01
# Arguments that checkpoints have, as they have them.
USUAL = {"in_chans": 3, "global_pool": "avg"}


def build_network(
    checkpoint: Checkpoint, classes: Sequence[str], *, dropout: float, stochastic_depth: float, new_head: bool = False
) -> nn.Module:
    """The network with the checkpoint's weights, and a new classifier unless its own is for just `classes`.

    Args:
        new_head: a new classifier in any case.

    Raises:
        UserError: when the weights or arguments do not fit the architecture, or it does not take RGB
            images to one linear classifier.
    """
    settings = {"drop_rate": dropout, **_timm_depth(checkpoint, stochastic_depth)}
    if checkpoint.folder is None:
        model = _create(checkpoint, num_classes=len(classes), **settings)
    else:
        model = _load(checkpoint, **settings)
    _check_ends(checkpoint, model)
    if new_head or not keeps_classifier(checkpoint, classes):
        model.reset_classifier(len(classes))  # type: ignore[operator]
        initialize_classifier(model)
    set_stochastic_depth(model, stochastic_depth)
    return model


def build_classifier(checkpoint: Checkpoint, classes: Sequence[str], *, new_head: bool = False) -> nn.Module:
    """The network for its answers alone, with the classifier over several stages that the checkpoint has, if any.

    Args and Raises: as for `build_network`.
    """
    network = build_network(checkpoint, classes, dropout=0, stochastic_depth=0, new_head=new_head)
    entry = checkpoint.stages
    if entry is None or new_head:
        return network
    assert checkpoint.folder is not None
    return with_head(checkpoint.name, checkpoint.folder, entry, network, checkpoint.test_side)


def _create(checkpoint: Checkpoint, **settings: Any) -> nn.Module:
    """timm's network with random weights."""
    # timm checks little: arguments that do not fit fail as anything, asserts among them.
    try:
        return timm.create_model(checkpoint.timm_name, **{**checkpoint.arguments, **settings})
    except Exception as error:
        reason = textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".") or type(error).__name__
        where = "--model-arg" if checkpoint.folder is None else "model_args in its config.json"
        raise UserError(f"{checkpoint.name} cannot be made: {reason}. Check {where}.") from error


def _load(checkpoint: Checkpoint, **settings: Any) -> nn.Module:
    """The network with the checkpoint's weights and classifier; sizes are checked before memory is taken for them."""
    assert checkpoint.folder is not None
    if checkpoint.base is not None:
        # Adapters alone need peft, which takes half as long to import as torch.
        from nfft.models.adapter import merge_adapter

        model = _load(checkpoint.base, **settings)
        model.reset_classifier(saved_classes(checkpoint))  # type: ignore[operator]
        merge_adapter(model, checkpoint)
        return model
    file, settings = checkpoint.folder / "model.safetensors", {**settings, "num_classes": saved_classes(checkpoint)}
    with torch.device("meta"):
        outline = _create(checkpoint, **settings)
    validate_weights(checkpoint.name, file, outline)
    if any(USUAL.get(name) != value for name, value in checkpoint.arguments.items() if "eps" not in name):
        _check_answers(checkpoint, outline)
    model = _create(checkpoint, **settings)
    load_model(model, file)
    validate_finite(checkpoint.name, model)
    if checkpoint.is_authors:
        settle_gains(model)
    return model


def _check_answers(checkpoint: Checkpoint, outline: nn.Module) -> None:
    """See that a network with unusual arguments takes an image and says something of each class.

    Args:
        outline: the network on the meta device, where this takes no time.
    """
    images = torch.empty(1, 3, checkpoint.test_side, checkpoint.test_side, device="meta")
    reason = "it does not say something of each class"
    try:
        with torch.no_grad():
            fits = outline.eval()(images).shape == (1, saved_classes(checkpoint))
    except Exception as error:
        fits, reason = False, textwrap.shorten(str(error), 200, placeholder=" ...").rstrip(".") or type(error).__name__
    if not fits:
        raise UserError(f"{checkpoint.name} cannot be used: {reason}. Check model_args in its config.json.")


def _timm_depth(checkpoint: Checkpoint, rate: float) -> dict[str, float]:
    """Stochastic depth as timm's constructor takes it, for networks with normalization: some do not take 0."""
    return {"drop_path_rate": rate} if rate and not checkpoint.is_normalizer_free else {}


def set_stochastic_depth(model: nn.Module, rate: float) -> None:
    """Drop the residual branch of block i of n, counted from 0, with probability rate x i / n, image by image.

    Source: the authors' `nfnet.py` and `base.py`: what is kept stays as it is.
    Differs: timm divides what is kept by its probability, and reaches `rate` in the last block. So do networks with
        normalization here: their weights were trained that way.
    """
    blocks = [module for module in model.modules() if isinstance(module, NormFreeBlock)]
    for index, block in enumerate(blocks):
        block.drop_path = DropPath(rate * index / len(blocks), scale_by_keep=False) if rate * index else nn.Identity()


def keeps_classifier(checkpoint: Checkpoint, classes: Sequence[str]) -> bool:
    """Whether the checkpoint's own classifier is for just these classes, as far as it names its own."""
    if checkpoint.folder is None:
        return False
    names = checkpoint.config.get("label_names")
    return list(names) == list(classes) if names else saved_classes(checkpoint) == len(classes)


def _check_ends(checkpoint: Checkpoint, model: nn.Module) -> None:
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and first.in_channels != 3:
        raise UserError(
            f"{checkpoint.name}: expected a network for RGB images; its first layer takes {first.in_channels} channels."
        )
    head = classifier(model)
    if not (isinstance(head, nn.Linear) or (isinstance(head, nn.Conv2d) and head.kernel_size == (1, 1))):
        raise UserError(
            f"{checkpoint.name}: expected a network with one linear classifier; "
            f"{checkpoint.architecture} ends in {type(head).__name__}."
        )


def initialize_classifier(model: nn.Module) -> None:
    """Classifier weight from N(0, 0.01²), bias 0.

    Source: the authors' `nfnet.py`.
    Differs: timm's reset_classifier leaves torch's default, uniform in ±1/sqrt(fan_in).
    """
    head = classifier(model)
    nn.init.normal_(head.weight, std=CLASSIFIER_STD)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def is_normalized(model: nn.Module) -> bool:
    """Whether the network has batch normalization."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def smallest_side(model: nn.Module) -> int:
    """How many times the network shrinks an image: below this many px its last stage sees less than a pixel."""
    info = getattr(model, "feature_info", None)
    return max((int(stage["reduction"]) for stage in info), default=1) if isinstance(info, list) else 1


def check_side(network: nn.Module, architecture: str, side: int, option: str) -> None:
    """See that the network takes images of `side` px.

    Args:
        option: how their size is set: "--resolution " or "--set train_resolution=".

    Raises:
        UserError: when it shrinks them to nothing, or takes images of one size alone.
    """
    smallest = smallest_side(network)
    if side < smallest:
        raise UserError(
            f"{option}{side} is too small for {architecture}, which shrinks images {smallest} times. "
            f"Use {option}{smallest} or more."
        )
    state = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
    was_training = network.training
    try:
        network.eval()
        with torch.no_grad():
            torch.func.functional_call(network, shapes, (torch.empty(1, 3, side, side, device="meta"),))
    except AssertionError as error:
        raise UserError(f"{option}{side} is none that {architecture} takes: {error}") from error
    finally:
        network.train(was_training)


def normalize_images(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 images (n, 3, h, w) to floats with the checkpoint's mean and standard deviation (3, 1, 1)."""
    return images.float().div_(255).sub_(mean).div_(std)
