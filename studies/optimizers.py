"""SGD as the paper has it, AdamW and Muon, each after AGC, in fine-tuning: why no AdamW?"""

from nfft import Study

STUDY = Study(
    name="optimizers",
    title="SGD, AdamW and Muon in fine-tuning",
    question=(
        "Does a normalizer-free network fine-tune better by AdamW or by Muon than by SGD with Nesterov momentum, in as "
        "many steps, each at the rate and decay that `optimizer` brings by itself? And does AdamW need AGC?"
    ),
    rows={
        "SGD": {},
        "AdamW": {"optimizer": "adamw"},
        "AdamW, no clipping": {"optimizer": "adamw", "clipping": None},
        "Muon": {"optimizer": "muon"},
    },
    columns={
        "Hymenoptera": {"task": "hymenoptera", "batch_size": 32},
        "Flower photos": {"task": "flower_photos"},
        "CIFAR-10, 1,000 images": {"task": "cifar10", "task.train_images": 1_000},
        "Tiny ImageNet, 10 a class": {"task": "tiny_imagenet", "shots": 10},
        "Digits": {"task": "digits"},
    },
    shared={"model": "nfnet-nano", "batch_size": 64, "steps": 250, "evaluations": 1, "threads": 1},
    pairs=(("SGD", "AdamW"), ("SGD", "Muon"), ("AdamW", "AdamW, no clipping")),
    row_label="Top-1 %",
    paper=(
        "[The paper](https://arxiv.org/abs/2102.06171) trains and fine-tunes by SGD with Nesterov momentum, and has no "
        "run by another optimizer."
    ),
    budget="60 runs of about a minute of one CPU core each.",
)
