"""Which of the paper's results a run may stand beside, and that its figures are the paper's."""

import pytest

from nfft.reporting import paper_results

# Tables 3, 4 and 5.
FROM_SCRATCH = {0: (256, 83.6), 1: (320, 84.7), 2: (352, 85.1), 3: (416, 85.7), 4: (512, 85.9), 5: (544, 86.0)}
FINE_TUNED = {
    "BN": {50: (78.1, 79.6, 79.9), 101: (80.8, 82.2, 82.5), 152: (81.8, 83.1, 83.4), 200: (81.8, 83.1, 83.5)},
    "NF": {50: (79.5, 80.9, 81.1), 101: (81.4, 82.7, 83.2), 152: (82.7, 83.6, 84.0), 200: (82.9, 84.1, 84.3)},
}


def parameters(architecture: str) -> int:
    """Of the network with 1,000 classes, counted without making its weights."""
    import timm
    import torch

    import nfft.models.architectures  # noqa: F401 - registers names

    with torch.device("meta"):
        return sum(each.numel() for each in timm.create_model(architecture, num_classes=1000).parameters())


def compared(architecture: str, resolution: int, pretrained: bool = True, **changes) -> paper_results.Row | None:
    facts = {"task": "imagenet1k", "train": 1_268_000, "test": 50_000, "sam": False} | changes
    task = facts.pop("task")
    count = facts.pop("parameters", None) or parameters(architecture)
    return paper_results.comparable(task, architecture, resolution, pretrained, parameters=count, **facts)


@pytest.mark.parametrize("size", FROM_SCRATCH)
def test_networks_from_random_weights(size):
    side, top1 = FROM_SCRATCH[size]
    row = compared(f"dm_nfnet_f{size}", side, pretrained=False)
    assert (row.network, row.top1, row.table, row.seeds) == (f"NFNet-F{size}", top1, 3, 3)
    assert (row.batch_size, row.steps) == (4096, 112_603)
    assert row.setting == f"from random weights, at {side} px"


@pytest.mark.parametrize("kind", FINE_TUNED)
@pytest.mark.parametrize("depth", [50, 101, 152, 200])
def test_fine_tuned_resnets(kind, depth):
    count = parameters(f"{kind.lower()}_resnet{depth}")
    for side, top1 in zip((224, 320, 384), FINE_TUNED[kind][depth], strict=True):
        row = compared(f"{kind.lower()}_resnet{depth}", side, parameters=count)
        assert (row.network, row.top1, row.table, row.resolution) == (f"{kind}-ResNet-{depth}", top1, 4, side)
        assert row.setting == f"pre-trained on JFT-300M, fine-tuned at {side} px"


def test_sam_chooses_where_the_paper_has_both():
    count = parameters("dm_nfnet_f5")
    rows = [compared("dm_nfnet_f5", 544, pretrained=False, parameters=count, sam=sam) for sam in (False, True)]
    assert [(row.top1, row.top5, row.sam, row.seeds) for row in rows] == [(86.0, 97.6, False, 3), (86.3, 97.9, True, 1)]
    row = compared("dm_nfnet_f6", 576, pretrained=False)
    assert (row.top1, row.sam) == (86.5, True)
    assert "with SAM" in row.setting


def test_the_largest_are_told_by_their_size():
    plus = parameters("dm_nfnet_f4_plus")
    # As nfft saves F4+: timm's F4 with other arguments.
    for name in ("dm_nfnet_f4_plus", "dm_nfnet_f4"):
        row = compared(name, 512, parameters=plus)
        assert (row.network, row.top1, row.table) == ("NFNet-F4+", 89.2, 5)
    assert compared("dm_nfnet_f4", 512).network == "NFNet-F4"
    assert compared("nf_resnet101", 224, parameters=parameters("nf_resnet200")).network == "NF-ResNet-200"
    assert compared("resnetv2_152", 224, parameters=parameters("bn_resnet200")).network == "BN-ResNet-200"


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "cifar10"}, {"train": 100_000}, {"test": 5_000}, {"test": 60_000}, {"parameters": 23_600_000},
        {"resolution": 256}, {"pretrained": False}, {"architecture": "nf_seresnet50"}, {"architecture": "resnet50"},
        {"architecture": "resnetv2_50d"}, {"architecture": "nfnet_f0"},
    ],
)  # fmt: skip
def test_nothing_else_compares(changes):
    given = {"architecture": "nf_resnet50", "resolution": 224, "parameters": 25_557_032}
    assert compared(**given) is not None
    assert compared(**given | changes) is None
