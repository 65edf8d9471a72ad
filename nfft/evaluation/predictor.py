"""Predictions of a network over a split."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator

    from nfft.auto import AutoNFNet
    from nfft.data.splits import Split
    from nfft.evaluation.metrics import Predictions


BATCH = 64


def predict_split(
    classifier: "AutoNFNet", split: "Split", resolution: int, accelerator: "Accelerator"
) -> "Predictions":
    """Predictions over `split` at `resolution`, through the transform that is stored with the checkpoint."""
    import torch
    from torch import Tensor
    from tqdm import tqdm

    from nfft.data.loader import EvaluationImages, evaluation_loader
    from nfft.distributed.accelerator import autocast_dtype, default_workers
    from nfft.evaluation.metrics import predict_batches
    from nfft.models.build import normalize_images
    from nfft.models.folding import fold
    from nfft.models.transforms import pixels_of, stored_preprocessing

    device = accelerator.device
    network = fold(classifier.network.to(device), dtype=autocast_dtype(accelerator))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    preprocessing = stored_preprocessing(classifier.checkpoint, resolution)
    mean, std = (torch.tensor(preprocessing[name], device=device).view(3, 1, 1) for name in ("mean", "std"))

    def logits_of(images: Tensor) -> Tensor:
        with accelerator.autocast():
            return network(normalize_images(images.to(device), mean, std))

    batches = evaluation_loader(
        EvaluationImages(split, pixels_of(preprocessing)),
        batch_size=BATCH,
        rank=0,
        processes=1,
        workers=default_workers(accelerator),
    )
    shown = tqdm(batches, "scoring", disable=None, leave=False, delay=2)
    return predict_batches({"": logits_of}, shown, list)[""]
