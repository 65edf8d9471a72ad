"""A gain clipped as one unit, as the authors have it, or element by element, as timm does."""

from nfft import Study

STUDY = Study(
    name="gains",
    title="Gains clipped as a whole or by element",
    question=(
        "The authors' code takes the gains of a convolution for one unit of AGC, timm each of them for a unit. Does it "
        "show in what is learned?"
    ),
    rows={"by element": {"clip_whole_gains": False}, "as a whole": {}},
    columns={
        "Hymenoptera": {"task": "hymenoptera", "batch_size": 32},
        "Flower photos": {"task": "flower_photos"},
        "CIFAR-10, 1,000 images": {"task": "cifar10", "task.train_images": 1_000},
    },
    # A lambda that clips often: with the recipe's own, hardly a gain is clipped either way.
    shared={
        "model": "nfnet-nano", "batch_size": 64, "steps": 300, "clipping": 0.01, "evaluations": 1, "threads": 1,
    },
    pairs=(("by element", "as a whole"),),
    row_label="Top-1 %",
    paper=(
        "[The paper](https://arxiv.org/abs/2102.06171) clips unit by unit and calls a unit a row of a weight; what of "
        "a gain is a unit only its code says. It found units better than whole layers; of gains it has no run."
    ),
    budget="18 runs of about a minute of one CPU core each.",
)  # fmt: skip
