"""What else may be done to training images than to crop and mirror them, where these are few."""

from nfft import Study

STUDY = Study(
    name="augmentation",
    title="Augmentation of few training images",
    question=(
        "Beside crops and mirrors: what do TrivialAugment, RandAugment, random erasing, color jitter, MixUp and CutMix "
        "give or take where training images are few and steps are few?"
    ),
    rows={
        "crop and mirror": {},
        "TrivialAugment": {"trivialaugment": True},
        # In proportion to the paper's 5 at 192 px.
        "RandAugment": {"randaugment": 1.25},
        "random erasing": {"random_erasing": 0.25},
        "color jitter": {"color_jitter": 0.4},
        "MixUp": {"mixup": 0.2},
        "CutMix": {"cutmix": True},
    },
    columns={
        "Hymenoptera": {"task": "hymenoptera", "batch_size": 32},
        "Flower photos": {"task": "flower_photos"},
        "Flower photos, 20 a class": {"task": "flower_photos", "shots": 20},
        "CIFAR-10, 20 a class": {"task": "cifar10", "shots": 20},
        "CIFAR-10, 1,000 images": {"task": "cifar10", "task.train_images": 1_000},
    },
    shared={"model": "nfnet-nano", "batch_size": 64, "steps": 300, "evaluations": 1, "threads": 1},
    pairs=tuple(
        ("crop and mirror", row)
        for row in ("TrivialAugment", "RandAugment", "random erasing", "color jitter", "MixUp", "CutMix")
    ),
    row_label="Top-1 %",
    paper=(
        "[The paper](https://arxiv.org/abs/2102.06171) trains on ImageNet with MixUp, CutMix and RandAugment, without "
        "which its large networks overfit; it has no figure for few images. "
        "[TrivialAugment](https://arxiv.org/abs/2103.10158) is as good as RandAugment from random weights, untuned."
    ),
    budget="105 runs of about a minute of one CPU core each.",
)
