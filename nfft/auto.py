"""AutoNFNet: a trained classifier as people use one: load it by name, show it pictures, share it."""

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn

from nfft.command_line import public_path
from nfft.config import registry
from nfft.config.overrides import with_settings
from nfft.config.task import Task
from nfft.config.views import SINGLE, check_views, several
from nfft.cores import Moment
from nfft.data.decode import RawImage, UnreadableImage, decode
from nfft.distributed.accelerator import best_device, make_accelerator, set_threads
from nfft.errors import UserError
from nfft.evaluation.evaluate import EvaluationPlan, plan_evaluation, run_evaluation
from nfft.evaluation.predictor import Inference, Network
from nfft.evaluation.views import AveragedViews
from nfft.hub.download import HubAccess
from nfft.hub.upload import push_files
from nfft.models.build import build_classifier
from nfft.models.checkpoint import Checkpoint, labels_of
from nfft.models.resolve import find_checkpoint
from nfft.models.saving import save_network
from nfft.models.transforms import pixels_of, stored_preprocessing, transform_of, uncropped
from nfft.models.validation import check_finite
from nfft.reporting.model_card import render_bare
from nfft.runs.folder import NETWORK
from nfft.runs.records import Evaluation
from nfft.text import shorten

logger = logging.getLogger(__name__)

Picture = str | Path | bytes | IO[bytes] | Image.Image | np.ndarray | Tensor
EXPECTED = (
    "an image file (its path, its bytes, or the file opened in binary), an image of Pillow, a uint8 array (height, "
    "width[, channels]) or a uint8 tensor (channels, height, width)"
)
BATCH = 32


class AutoNFNet(nn.Module):
    """A network with its labels and its preprocessing, in evaluation mode.

    Attributes:
        network: timm's module, or a `StagedNetwork` around it where the classifier sees several stages.
        labels: names of the classes, in the order of the logits.
        transform: an RGB image of Pillow -> normalised pixels (3, side, side), as the network is evaluated.
        rendering: how what a picture holds becomes RGB: what transparent ones lie on, what is black and white in deep
            ones.
        checkpoint: where it came from.
    """

    def __init__(self, network: nn.Module, labels: list[str], checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network, self.labels, self.checkpoint = network, labels, checkpoint
        self.preprocessing = stored_preprocessing(checkpoint)
        self.transform = transform_of(self.preprocessing)
        self.rendering = checkpoint.rendering
        self._view, self._uncropped = pixels_of(self.preprocessing), pixels_of(uncropped(self.preprocessing))
        self._folded: tuple[list, nn.Module] | None = None

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        num_classes: int | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> "AutoNFNet":
        """Load a classifier.

        Args:
            name: an id on the Hub (a timm repository, or one that nfft pushed), a folder such as a run's, or
                "nfnet-nano", which comes with nfft.
            revision: a branch, tag or commit.
            num_classes: give it a new, untrained head for so many classes.
            token: of the Hub; the one that `hf auth login` stored when absent.
            cache_dir: where downloads are kept.
            local_files_only: look only into the cache.

        Raises:
            UserError: when there is no such checkpoint, or it cannot be reached, trusted or used.
        """
        if str(name).startswith("scratch:"):
            raise UserError(f"{name} has no weights: name a checkpoint, or train one with nfft finetune.")
        access = HubAccess(revision, token, cache_dir, local_files_only)
        checkpoint = find_checkpoint(str(name), {}, access)
        labels = labels_of(checkpoint)
        if num_classes is not None:
            if num_classes < 1:
                raise UserError(f"num_classes must be at least 1; got {num_classes}.")
            labels, checkpoint = [str(number) for number in range(num_classes)], checkpoint.plain
        network = build_classifier(checkpoint, labels, new_head=num_classes is not None)
        return cls(network, labels, checkpoint).eval()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits (n, classes) of normalised images (n, 3, side, side), as `transform` makes them."""
        return self.network(pixel_values)

    def predict(
        self, images: Picture | Iterable[Picture], top_k: int = 5, batch_size: int = BATCH, views: str = SINGLE
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """The most probable classes of one picture, or of each of several.

        Args:
            images: paths, bytes of files, files opened in binary, images of Pillow, uint8 arrays (height, width) or
                (height, width, channels), or uint8 tensors (channels, height, width), as torchvision reads them. One,
                or several: a list, a generator, an array (n, height, width, channels), a tensor (n, channels, height,
                width). Of the channels, there are 1, 3, or 4 with opacity.
            top_k: classes to name, at most as many as there are.
            views: of each picture, whose probabilities are averaged: "single" for one as usual, "flip" for that and its
                mirror (twice the time), "crops" for five crops (five times), "crops-flip" for these and their mirrors
                (ten times).

        Returns:
            {"label", "score"} of each class, best first: a list for one picture, a list of lists for several.

        Raises:
            UserError: for a picture that cannot be read, or what is none.
        """
        if top_k < 1:
            raise UserError(f"top_k must be at least 1; got {top_k}.")
        pictures, single = _pictures(images)
        averages = self._averaged(views)
        logits = self._answers(pictures, batch_size, averages.average(self.folded()), views)
        classes = [self._named(row, top_k) for rows in logits for row in rows]
        return classes[0] if single else classes

    def features(self, images: Picture | Iterable[Picture], batch_size: int = BATCH) -> Tensor:
        """What the classifier sees of pictures (as for `predict`): (n, features), or (features,) for one."""
        pictures, single = _pictures(images)
        network: Any = self.folded()

        def pooled(pixels: Tensor) -> Tensor:
            return network.forward_head(network.forward_features(pixels), pre_logits=True)

        batches = list(self._answers(pictures, batch_size, pooled))
        rows = torch.cat(batches) if batches else torch.empty(0, int(self.network.num_features))  # type: ignore
        return rows[0] if single else rows

    def folded(self) -> nn.Module:
        """The network as `nfft.fold` makes it, for inference only; made anew once its weights have changed."""
        tensors = self.network.state_dict(keep_vars=True).values()
        state = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
        if self._folded is None or self._folded[0] != state:
            # In a tuple, it is no part of this module's own weights.
            self._folded = state, self._inference.folded(self.network)
        return self._folded[1]

    @property
    def _inference(self) -> Inference:
        """On the device and in the precision that the network has now."""
        weight = next(self.network.parameters())
        return Inference(weight.device, self.preprocessing["mean"], self.preprocessing["std"], dtype=weight.dtype)

    def _averaged(self, views: str) -> AveragedViews:
        return AveragedViews(views, self.preprocessing["input_size"][-1])

    def view(self, picture: Picture, views: str = SINGLE) -> np.ndarray:
        """What the network is shown of a picture, before it is normalized: uint8, (side, side, 3).

        Args:
            views: as for `predict`; of crops it is what they are taken from, which is larger.

        Raises:
            UnreadableImage: when there is no picture in it.
            UserError: when it is nothing that could be one.
        """
        to_pixels = self._uncropped if self._averaged(views).are_crops else self._view
        return to_pixels(decode(_raw(picture), self.rendering))

    def classify(self, shown: Sequence[np.ndarray], top_k: int, views: str = SINGLE) -> list[list[dict[str, Any]]]:
        """The most probable classes of what `view` makes for the same `views`, best first."""
        network = self._averaged(views).average(self.folded())
        return [self._named(row, top_k) for row in self._answer(shown, network)] if shown else []

    def _answers(
        self, pictures: Iterable[Picture], size: int, network: Network, views: str = SINGLE
    ) -> Iterator[Tensor]:
        """What `network` makes of the pictures, a batch at a time, on the CPU."""
        waiting = iter(pictures)
        while shown := [self._view_or_refuse(picture, views) for picture in islice(waiting, size)]:
            yield self._answer(shown, network)

    def _answer(self, shown: Sequence[np.ndarray], network: Network) -> Tensor:
        pixels = torch.stack([torch.from_numpy(view) for view in shown]).permute(0, 3, 1, 2)
        inference = self._inference
        answers = inference.answers(network, inference.normalized(pixels)).float().cpu()
        check_finite(self.checkpoint.name, answers)
        return answers

    def _view_or_refuse(self, picture: Picture, views: str) -> np.ndarray:
        try:
            return self.view(picture, views)
        except UnreadableImage as error:
            which = shorten(str(picture), 200) if isinstance(picture, (str, os.PathLike)) else _called(picture)
            raise UserError(f"{which} cannot be read: {error}. Expected an image file, or a uint8 array.") from error

    def _named(self, logits: Tensor, top_k: int) -> list[dict[str, Any]]:
        best = logits.softmax(0).topk(min(top_k, len(self.labels)))
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [{"label": self.labels[index], "score": score} for score, index in pairs]

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, which timm, transformers and nfft load.

        A classifier over several stages, which nfft alone loads, gets a file of its own beside them.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_network(
            self.network, folder, checkpoint=self.checkpoint, classes=self.labels, preprocessing=self.preprocessing
        )

    def push_to_hub(
        self,
        repository: str,
        *,
        private: bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        token: str | bool | None = None,
        commit_message: str | None = None,
    ) -> str:
        """Put the network into a repository of the Hub, as one commit; returns the address of the commit.

        Args:
            repository: "user/name"; made if there is none.
            private: whether a new repository is; the account's default when absent.
            revision: a branch, made if there is none; the main one when absent.
            create_pr: propose the commit instead.

        A run's folder has more to share: push that with `nfft push`.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            self.save_pretrained(folder)
            text = render_bare(repository, self.checkpoint, self.labels)
            (folder / "README.md").write_text(text, encoding="utf-8")
            return push_files(
                {path.name: path for path in folder.iterdir()},
                repository,
                replaced=NETWORK,
                private=private,
                revision=revision,
                create_pr=create_pr,
                token=token,
                message=commit_message or "Add the network",
                keep=["README.md"],
            )


def predict(
    images: Picture | Iterable[Picture],
    model: str | Path,
    top_k: int = 5,
    revision: str | None = None,
    views: str = SINGLE,
) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
    """The most probable classes of pictures, by a model that is loaded for them, on the best device there is.

    Args:
        images, top_k, views: as for `AutoNFNet.predict`, and so is what is returned.
        model, revision: as for `AutoNFNet.from_pretrained`.

    Raises:
        UserError: for a model that cannot be had, or a picture that cannot be read.
    """
    check_views(views)
    classifier = AutoNFNet.from_pretrained(model, revision=revision).to(best_device())
    return classifier.predict(images, top_k, views=views)


def evaluate(
    model: str | Path,
    task: str | Path | Task,
    split: str | None = None,
    resolution: int | None = None,
    precision: str = "auto",
    revision: str | None = None,
    views: str = SINGLE,
    **settings: Any,
) -> Evaluation:
    """Scores of a model on a task, each image preprocessed as it is stored with the model.

    Args:
        model, revision: as for `AutoNFNet.from_pretrained`.
        task: a task, its name, a folder of images, a table, or a dataset id on the Hub.
        split: "train", "validation", "test", or "all" of data with one split; test, or else validation, when absent.
        resolution: px to test at; the model's when absent.
        precision: "fp32", "bf16", "fp16", or "auto": bf16 where the device is fast at it, else fp32.
        views: of each picture, as for `AutoNFNet.predict`.
        settings: of the task, such as label="species".

    Raises:
        UserError: when model or data cannot be had, or the model does not tell the data's classes apart.
    """
    check_views(views)
    named = task if isinstance(task, Task) else registry.task(str(task))
    changed = with_settings(named, settings, "task")
    accelerator = make_accelerator(precision)
    plan = evaluation_of(
        model, changed, accelerator, split=split, resolution=resolution, views=views, revision=revision
    )
    for line in plan.lines:
        logger.info(line)
    words = [repr(public_path(str(model))), repr(named.name if isinstance(task, Task) else public_path(str(task)))]
    options = {"split": split, "resolution": resolution, "views": several(views)}
    options |= {"revision": revision, **settings}
    words += [f"{name}={value!r}" for name, value in options.items() if value is not None]
    return run_evaluation(plan, accelerator, f"nfft.evaluate({', '.join(words)})")


def evaluation_of(
    model: str | Path,
    task: Task,
    accelerator: Accelerator,
    *,
    split: str | None,
    resolution: int | None,
    views: str,
    revision: str | None,
    since: Moment | None = None,
) -> EvaluationPlan:
    """Load a model and find the images that it is to be scored on, in each of the processes that share the work.

    Args and Raises: as for `evaluate`; since: as for `set_threads`.
    """
    lines = set_threads(None, since)
    # One process of each machine fetches what is not there yet.
    with accelerator.local_main_process_first():
        classifier = AutoNFNet.from_pretrained(model, revision=revision)
        plan = plan_evaluation(classifier, task, split=split, resolution=resolution, views=views, revision=revision)
    return replace(plan, notes=[*lines, *plan.notes])


def _pictures(images: Any) -> tuple[Iterable[Picture], bool]:
    """Pictures one after another, and whether it was one.

    Raises:
        UserError: for what is neither.
    """
    if isinstance(images, np.ndarray | Tensor):
        return (images, False) if images.ndim == 4 else ([images], True)
    if isinstance(images, str | os.PathLike | bytes | bytearray | Image.Image) or hasattr(images, "read"):
        return [images], True
    if isinstance(images, Mapping) or not isinstance(images, Iterable):
        raise UserError(f"expected {EXPECTED}, or several of them; got {_described(images)}.")
    return images, False


def _raw(picture: Any) -> RawImage:
    """A picture as `decode` takes it."""
    if isinstance(picture, os.PathLike):
        return os.fspath(picture)
    if isinstance(picture, bytearray):
        return bytes(picture)
    if isinstance(picture, Tensor):
        if (
            picture.dtype != torch.uint8
            or picture.ndim not in (2, 3)
            or picture.shape[:-2] not in ((), (1,), (3,), (4,))
        ):
            raise UserError(f"expected {EXPECTED}; got {_described(picture)}.")
        return (picture if picture.ndim == 2 else picture.permute(1, 2, 0)).cpu().contiguous().numpy()
    if isinstance(picture, np.ndarray):
        if picture.ndim not in (2, 3) or picture.shape[2:] not in ((), (1,), (3,), (4,)):
            raise UserError(f"expected {EXPECTED}; got {_described(picture)}.")
        return np.ascontiguousarray(picture)
    if hasattr(picture, "read") and not isinstance(picture, Image.Image):
        content = picture.read()
        if not isinstance(content, bytes):
            raise UserError(f"expected a file opened in binary, as open(path, 'rb') does; got {_described(picture)}.")
        return content
    if not isinstance(picture, str | bytes | Image.Image):
        raise UserError(f"expected {EXPECTED}; got {_described(picture)}.")
    return picture


def _called(picture: Any) -> str:
    """What was given as a picture, for want of a name."""
    return f"a picture given as {type(picture).__name__}"


def _described(picture: Any) -> str:
    """What was given in place of a picture."""
    kind = type(picture).__name__
    if isinstance(picture, np.ndarray | Tensor):
        return f"{kind} of {str(picture.dtype).removeprefix('torch.')} and shape {tuple(picture.shape)}"
    return kind
