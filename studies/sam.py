"""Sharpness-aware minimization in fine-tuning: with the same steps as without, and with the same time."""

from nfft import Study

STUDY = Study(
    name="sam",
    title="SAM on and off in fine-tuning",
    question=(
        "What does sharpness-aware minimisation give a fine-tuned NFNet, and is it more than what the steps give that "
        "its time would have bought?"
    ),
    rows={
        "without": {"steps": 300},
        "without, 30 % more steps": {"steps": 390},
        "with SAM": {"steps": 300, "sam_rho": 0.05},
    },
    columns={
        "Hymenoptera": {"task": "hymenoptera", "batch_size": 32},
        "Flower photos": {"task": "flower_photos"},
        "CIFAR-10, 1,000 images": {"task": "cifar10", "task.train_images": 1_000},
    },
    shared={"model": "nfnet-nano", "batch_size": 64, "evaluations": 1, "threads": 1},
    pairs=(("without", "with SAM"), ("without, 30 % more steps", "with SAM")),
    row_label="Top-1 %",
    paper=(
        "[The paper](https://arxiv.org/abs/2102.06171) trains NFNet-F5 to 86.3 with SAM and to 86.0 without, and "
        "fine-tunes its NFNets with it; an ascent on a fifth of the batch takes 20 to 40 % more time. It has no figure "
        "for fine-tuning without."
    ),
    budget="27 runs of about a minute of one CPU core each.",
)
