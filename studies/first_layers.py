"""Which layers to train: all, all but the first, the first alone, the last alone."""

from nfft import Study

STUDY = Study(
    name="first-layers",
    title="First layers, last layers, all layers",
    question=(
        "What is lost where the stem, or the first stages with it, stay as they were, and what is gained where they "
        "alone are trained, in as many steps?"
    ),
    rows={
        "all": {},
        "all but the stem": {"method": "freeze-stem"},
        "all but the stem and the first stage": {"method": "freeze-stem", "method.stages": 1},
        "all but the stem and two stages": {"method": "freeze-stem", "method.stages": 2},
        "the last stage": {"method": "last-stages"},
        "the stem and the first stage": {"method": "first-stages"},
    },
    columns={
        "Hymenoptera": {"task": "hymenoptera", "batch_size": 32},
        "Flower photos": {"task": "flower_photos"},
        "CIFAR-10, 1,000 images": {"task": "cifar10", "task.train_images": 1_000},
        "Tiny ImageNet, 10 a class": {"task": "tiny_imagenet", "shots": 10},
    },
    shared={"model": "nfnet-nano", "batch_size": 64, "steps": 250, "evaluations": 1, "threads": 1},
    pairs=(
        ("all", "all but the stem"),
        ("all", "all but the stem and the first stage"),
        ("all", "all but the stem and two stages"),
        ("all", "the last stage"),
        ("all", "the stem and the first stage"),
    ),
    row_label="Top-1 %",
    paper=(
        "The paper fine-tunes every layer. [Lee et al.](https://arxiv.org/abs/2210.11466) find the first layers the "
        "best to train where pictures are distorted, and others where classes change."
    ),
    budget="72 runs of about a minute of one CPU core each.",
)
