"""The paper's figures that a result of one's own may stand beside, and which of them is comparable.

Source: arXiv 2102.06171 (Brock, De, Smith, Simonyan 2021), Tables 3 to 5, section 6 and appendix A.
"""

import re
from dataclasses import dataclass

ADDRESS = "https://arxiv.org/abs/2102.06171"
TASK = "imagenet1k"
TRAIN, TEST = 1_281_167, 50_000  # images; the test images are ImageNet's validation split
PRETRAINING = "JFT-300M"
# A network is told by its family and its size: what is saved has timm's name, as NF-ResNet-200 has NF-ResNet-101's.
TOLERANCE = 0.005
FAMILIES = {"NFNet": r"dm_nfnet_f\d(_plus)?", "NF-ResNet": r"nf_resnet\d+", "BN-ResNet": r"(bn_resnet|resnetv2_)\d+"}


@dataclass(frozen=True)
class Row:
    """A result of the paper on ImageNet's 1,000 classes.

    Attributes:
        network: the paper's name of it.
        parameters: in millions, with a classifier for 1,000 classes.
        resolution: px at which it was evaluated.
        top1, top5: in percent.
        pretrained: on the paper's pre-training data, then fine-tuned; else from random weights.
        sam: whether it was trained with SAM.
        batch_size, steps: of its training on ImageNet.
    """

    network: str
    parameters: float
    resolution: int
    top1: float
    table: int
    seeds: int
    pretrained: bool
    batch_size: int
    steps: int
    top5: float | None = None
    sam: bool = False

    @property
    def setting(self) -> str:
        """How it was trained, as the end of a sentence."""
        if self.pretrained:
            return f"pre-trained on {PRETRAINING}, fine-tuned at {self.resolution} px"
        return f"from random weights{' with SAM' if self.sam else ''}, at {self.resolution} px"


def _from_scratch(
    network: str, parameters: float, resolution: int, top1: float, top5: float, *, sam: bool = False
) -> Row:
    # 360 epochs of batch 4096. Each figure is a mean over three seeds, but for those with SAM.
    steps = round(360 * TRAIN / 4096)
    return Row(network, parameters, resolution, top1, 3, 1 if sam else 3, False, 4096, steps, top5, sam)


def _fine_tuned(network: str, parameters: float, *top1: float) -> list[Row]:
    sides = zip((224, 320, 384), top1, strict=True)
    return [Row(network, parameters, side, share, 4, 1, True, 2048, 15_000) for side, share in sides]


# The paper does not print the sizes of ResNets: they are counted (docs/architectures.md). Nor does it print at which
# resolution F4 and F4+ were fine-tuned: their 215 and 367 GFLOPs in Table 5 are those of 512 px.
ROWS = (
    _from_scratch("NFNet-F0", 71.5, 256, 83.6, 96.8),
    _from_scratch("NFNet-F1", 132.6, 320, 84.7, 97.1),
    _from_scratch("NFNet-F2", 193.8, 352, 85.1, 97.3),
    _from_scratch("NFNet-F3", 254.9, 416, 85.7, 97.5),
    _from_scratch("NFNet-F4", 316.1, 512, 85.9, 97.6),
    _from_scratch("NFNet-F5", 377.2, 544, 86.0, 97.6),
    _from_scratch("NFNet-F5", 377.2, 544, 86.3, 97.9, sam=True),
    _from_scratch("NFNet-F6", 438.4, 576, 86.5, 97.9, sam=True),
    *_fine_tuned("BN-ResNet-50", 25.55, 78.1, 79.6, 79.9),
    *_fine_tuned("NF-ResNet-50", 25.56, 79.5, 80.9, 81.1),
    *_fine_tuned("BN-ResNet-101", 44.54, 80.8, 82.2, 82.5),
    *_fine_tuned("NF-ResNet-101", 44.55, 81.4, 82.7, 83.2),
    *_fine_tuned("BN-ResNet-152", 60.19, 81.8, 83.1, 83.4),
    *_fine_tuned("NF-ResNet-152", 60.19, 82.7, 83.6, 84.0),
    *_fine_tuned("BN-ResNet-200", 64.67, 81.8, 83.1, 83.5),
    *_fine_tuned("NF-ResNet-200", 64.67, 82.9, 84.1, 84.3),
    Row("NFNet-F4", 316.1, 512, 89.2, 5, 1, True, 2048, 15_000, sam=True),
    Row("NFNet-F4+", 527.0, 512, 89.2, 5, 1, True, 2048, 15_000, sam=True),
)


def comparable(
    task: str,
    architecture: str,
    resolution: int,
    pretrained: bool,
    *,
    parameters: int,
    train: int,
    test: int,
    sam: bool = False,
) -> Row | None:
    """The paper's result for the same network on the same data at the same resolution; None where it has none.

    Args:
        task: the catalog's name; the paper's are all on ImageNet-1k.
        architecture: timm's name, or one of nfft.models.architectures.
        resolution: px at which it was scored.
        pretrained: whether it was fine-tuned, on whatever weights, or trained from random ones.
        parameters: of the network with its classifier.
        train, test: images trained on and scored. Of the training images a tenth may be missing (held out for
            validation), of the test images a hundredth (unreadable).
        sam: whether it was trained with SAM; it chooses where the paper has both.
    """
    if task != TASK or train < 0.9 * TRAIN or not 0.99 * TEST <= test <= TEST:
        return None
    family = next((name for name, pattern in FAMILIES.items() if re.fullmatch(pattern, architecture)), None)
    rows = [
        row
        for row in ROWS
        if row.network.rsplit("-", 1)[0] == family
        and row.pretrained == pretrained
        and row.resolution == resolution
        and abs(parameters / 1e6 / row.parameters - 1) < TOLERANCE
    ]
    return min(rows, key=lambda row: row.sam != sam, default=None)
