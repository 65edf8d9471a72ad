"""Several views of each picture in place of one, at scoring: their probabilities are averaged."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nfft.config.views import SINGLE, VIEWS, check_views
from nfft.models.transforms import uncropped


@dataclass(frozen=True)
class AveragedViews:
    """Views of a picture, and what a network answers to all of them together.

    Crops are the four corners and the center of the picture at a margin that leaves room for them. They cost as many
    times one view as there are: 2 for "flip", 5 for "crops", 10 for "crops-flip".

    Attributes:
        name: one of VIEWS.
        side: px of each view.

    Raises:
        UserError: for a name that nothing has.

    Differs: torchvision's TenCrop has the corners of what is left of a picture whose short side is resized; here a
        picture that a network is shown squeezed to a square is squeezed for its crops, too.
    """

    name: str
    side: int

    def __post_init__(self) -> None:
        check_views(self.name)

    @property
    def are_crops(self) -> bool:
        return self.name.startswith("crops")

    @property
    def are_mirrored(self) -> bool:
        return self.name.endswith("flip")

    def preprocessing(self, stored: dict[str, Any]) -> dict[str, Any]:
        """What a picture is made into, out of which `average` takes the views; in timm's words.

        Args:
            stored: that of a single view.
        """
        return uncropped(stored) if self.are_crops else stored

    def average(self, network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """`network` of all views of each image: the logarithm of the mean of their probabilities, (n, classes).

        Of these, softmax makes that mean again. Of a single view it is the network itself.

        Args:
            network: normalized images (n, 3, side, side) -> logits (n, classes).
        """

        def averaged(images: Tensor) -> Tensor:
            total: Tensor | None = None
            for view in self._views(images):
                logarithms = network(view).float().log_softmax(1)
                total = logarithms if total is None else torch.logaddexp(total, logarithms)
            assert total is not None
            return total - math.log(VIEWS[self.name])

        return network if self.name == SINGLE else averaged

    def _views(self, images: Tensor) -> Iterator[Tensor]:
        for view in self._crops(images) if self.are_crops else (images,):
            yield view
            if self.are_mirrored:
                yield view.flip(3)

    def _crops(self, images: Tensor) -> Iterator[Tensor]:
        margin = images.shape[2] - self.side
        middle = round(margin / 2)
        for top, left in ((0, 0), (0, margin), (margin, 0), (margin, margin), (middle, middle)):
            crop = images[:, :, top : top + self.side, left : left + self.side]
            yield crop.contiguous(memory_format=torch.channels_last)
