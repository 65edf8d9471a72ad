"""A classifier that is fitted first, then steps through all layers, against steps alone."""

from nfft import Study

STUDY = Study(
    name="probe-first",
    title="A linear probe first, then all layers",
    question=(
        "Does fine-tuning gain by a classifier that was fitted to the checkpoint's features before the first step, in "
        "short runs and in longer ones?"
    ),
    rows={"new classifier": {}, "probe first": {"method.start": "probe"}},
    columns={
        "Hymenoptera": {"task": "hymenoptera", "batch_size": 32},
        "Flower photos, 50 steps": {"task": "flower_photos", "steps": 50},
        "Flower photos": {"task": "flower_photos"},
        "Flower photos, 20 a class": {"task": "flower_photos", "shots": 20, "batch_size": 32},
        "CIFAR-10, 1,000 images": {"task": "cifar10", "task.train_images": 1_000},
        "Tiny ImageNet, 10 a class": {"task": "tiny_imagenet", "shots": 10},
    },
    shared={"model": "nfnet-nano", "batch_size": 64, "steps": 250, "evaluations": 1, "threads": 1},
    pairs=(("new classifier", "probe first"),),
    row_label="Top-1 %",
    paper=(
        "The paper fine-tunes from a new classifier. [Kumar et al.](https://arxiv.org/abs/2202.10054) fit it first: on "
        "ten data sets 1 point better than fine-tuning on images like those of training, and 10 points on others."
    ),
    budget="36 runs of about a minute of one CPU core each.",
)
