"""The paper's Figure 2 in small: AGC's lambda against the batch size, from random weights."""

from nfft import Study

IMAGES_SEEN = 64_000

STUDY = Study(
    name="clipping",
    title="AGC's lambda against the batch size",
    question=(
        "Which lambda of adaptive gradient clipping trains best, and is it smaller for larger batches? The rate is the "
        "paper's 0.1 x batch / 256, and every run sees as many images."
    ),
    rows={
        "no clipping": {"clipping": None},
        **{f"λ = {clipping:g}": {"clipping": clipping} for clipping in (0.01, 0.02, 0.04, 0.08, 0.16)},
    },
    columns={
        f"batch {batch:,}": {"batch_size": batch, "steps": IMAGES_SEEN // batch, "lr": 0.1 * batch / 256}
        for batch in (64, 256, 1024)
    },
    shared={
        "model": "scratch:test_nfnet", "model_arg": "width_factor=0.75", "task": "cifar10", "task.train_images": 20_000,
        "recipe": "pretrain", "train_resolution": 32, "test_resolution": 32, "ema_decay": 0.99, "evaluations": 1,
        "threads": 1,
    },
    pairs=(("no clipping", "λ = 0.01"), ("no clipping", "λ = 0.16"), ("λ = 0.16", "λ = 0.01")),
    row_label="Top-1 %",
    paper=(
        "[The paper's Figure 2](https://arxiv.org/abs/2102.06171), on ImageNet: without clipping, normalizer-free "
        "ResNets do not train at batch 4,096, and clipping brings them to the accuracy of batch normalisation; from "
        "batch 256 to 4,096 the best lambda falls, to 0.01, and larger ones diverge at large batches. Small batches "
        "are little affected."
    ),
    budget="54 runs of about three minutes of one CPU core each.",
)  # fmt: skip
