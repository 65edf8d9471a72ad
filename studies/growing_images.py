"""Images that grow in the course of training, against images of one size."""

from nfft import Study

STUDY = Study(
    name="growing-images",
    title="Images that grow in the course of training",
    question=(
        "What does it cost to begin with smaller images, in top-1, and what does it save? With first_resolution=32, "
        "three quarters of the steps see 44 % of the pixels."
    ),
    rows={"48 px": {}, "32 px, then 48": {"first_resolution": 32}},
    columns={
        "Hymenoptera": {"task": "hymenoptera"},
        "Flower photos": {"task": "flower_photos"},
        "CIFAR-10, 20 a class": {"task": "cifar10", "shots": 20},
        "CIFAR-10, 1,000 images": {"task": "cifar10", "task.train_images": 1_000},
        "Digits": {"task": "digits"},
    },
    shared={"model": "nfnet-nano", "train_resolution": 48, "test_resolution": 48, "evaluations": 1, "threads": 1},
    pairs=(("48 px", "32 px, then 48"),),
    row_label="Top-1 %",
    paper=(
        "[The paper](https://arxiv.org/abs/2102.06171) trains at one size and scores at a larger one. "
        "[EfficientNetV2](https://arxiv.org/abs/2104.00298), section 4, lets images grow and trains up to 4 times as "
        "fast, with more regularization at larger sizes."
    ),
    budget="30 runs of about two minutes of one CPU core each.",
)  # fmt: skip
