"""The paper's Table 4 at a size of one GPU: Tiny ImageNet, then small data at three resolutions."""

from collections.abc import Sequence

from nfft import Pretrained, Study, clipping_for
from nfft.config.study import Settings
from nfft.reporting import paper_results
from nfft.text import in_markdown

# Flower photos are TensorFlow's tf_flowers, hymenoptera the ants and bees of PyTorch's tutorial on transfer learning.
TARGETS: dict[str, Settings] = {
    "CIFAR-10": {"task": "cifar10", "task.train_images": 10_000},
    "Flower photos": {"task": "flower_photos"},
    "Hymenoptera": {"task": "hymenoptera"},
}


def table_4() -> str:
    """The paper's figures, as Markdown."""
    rows = [row for row in paper_results.ROWS if row.table == 4]
    sides = sorted({row.resolution for row in rows})
    lines = [["", *(f"{side} px" for side in sides)]]
    for network in dict.fromkeys(row.network for row in rows):
        top1 = {row.resolution: row.top1 for row in rows if row.network == network}
        lines.append([network, *(f"{top1[side]}" for side in sides)])
    return in_markdown(lines)


PAPER = f"""[The paper's Table 4]({paper_results.ADDRESS}): pre-trained on 300 million images of 18,000 classes,
fine-tuned on ImageNet, top-1 in percent, one seed each. The normalizer-free network is ahead in each of twelve cells,
by 0.5 to 1.4 points.

{table_4()}"""


def of(
    name: str,
    title: str,
    budget: str,
    depths: Sequence[int],
    sides: Sequence[int],
    pretraining: Settings,
    shared: Settings,
) -> Study:
    """The study for ResNets of these `depths`, at these `sides` in px, the first of which is that of pre-training.

    Pre-training is as the paper's for ResNets in what it leaves out: random crop and flip alone, no average of weights,
    no mixing, weight decay 1e-5, 0.4 as the rate for 1,024 images and in proportion for fewer. A tenth is warm-up.
    Both twins see the same pictures in the same order.
    """
    source = {
        "task": "tiny_imagenet", "task.validation_fraction": 0.02, "recipe": "pretrain", "warmup_fraction": 0.1,
        "weight_decay": 1e-5, "ema_decay": None, "label_smoothing": 0, "crop_area": 0.08,
        "train_resolution": sides[0], "test_resolution": sides[0], "evaluations": 1, **pretraining,
    }  # fmt: skip
    networks = {f"{kind}-ResNet-{depth}": f"{kind.lower()}_resnet{depth}" for depth in depths for kind in ("BN", "NF")}
    # The paper clips networks without normalization alone.
    clipping = {"BN": None, "NF": clipping_for(pretraining["batch_size"])}
    rows = {
        row: {"model": Pretrained(network, {**source, "model": f"scratch:{network}", "clipping": clipping[row[:2]]})}
        for row, network in networks.items()
    }
    columns = {
        f"{target}, {side} px": {**settings, "train_resolution": side, "test_resolution": side}
        for target, settings in TARGETS.items()
        for side in sides
    }
    return Study(
        name=name,
        title=title,
        question=(
            "Do normalizer-free networks fine-tune to a better top-1 than their batch-normalised twins, of the same "
            "depth, widths and convolutions, after the same pre-training?"
        ),
        rows=rows,
        columns=columns,
        # The recipe takes a third of the steps for warm-up, 0.1 as rate whatever the batch, and AGC where it belongs.
        shared={"recipe": "paper-resnet", "test_margin": 0, "ema_decay": 0.999, "evaluations": 2, **shared},
        pairs=tuple((f"BN-ResNet-{depth}", f"NF-ResNet-{depth}") for depth in depths),
        row_label="Top-1 %",
        paper=PAPER,
        budget=budget,
    )


STUDY = of(
    name="transfer",
    title="Pre-train, then fine-tune: with and without batch normalisation",
    budget="About two hours of an H100 by an estimate; not yet run.",
    depths=(26, 50),
    sides=(64, 92, 110),
    pretraining={"epochs": 30, "batch_size": 256, "lr": 0.1},
    shared={"steps": 1500, "batch_size": 128},
)
