"""Random weights against pre-trained ones, by number of images: where does pre-training stop to pay?"""

from nfft import Study

STUDY = Study(
    name="from-scratch",
    title="Pre-trained or from random weights, by number of images",
    question="How much does pre-training give, and with how many images of one's own does it stop to pay?",
    rows={
        "random": {"model": "scratch:test_nfnet", "model_arg": "width_factor=1.5"},
        "pre-trained": {"model": "nfnet-nano"},
    },
    columns={
        f"{images:,} images": {"task.train_images": images, "steps": steps}
        for images, steps in ((500, 200), (2_000, 400), (8_000, 800), (32_000, 1_600))
    },
    shared={
        "task": "cifar10", "batch_size": 64, "train_resolution": 32, "test_resolution": 32, "test_margin": 0,
        "evaluations": 1, "threads": 1,
    },
    pairs=(("random", "pre-trained"),),
    row_label="Top-1 %",
    paper=(
        "[The paper](https://arxiv.org/abs/2102.06171) has NFNet-F4 at 85.9 from random weights (Table 3) and at 89.2 "
        "after pre-training on 300 million images (Table 5), both on 1.28 million images of ImageNet: there it pays."
    ),
    budget="24 runs of two to eleven minutes of one CPU core each.",
)  # fmt: skip
