"""The average of weights on short runs: its decay warmed up, as the authors have it, or constant, timm's default."""

from nfft import Study

STUDY = Study(
    name="ema-warmup",
    title="The average of weights with and without a warm-up of its decay",
    question=(
        "How good are the averaged weights of a short run, if their decay warms up and if it is constant? The table is "
        "of the averaged weights on validation, whether they were the better ones or not."
    ),
    rows={"constant": {"ema_warmup": False}, "warmed up": {}},
    columns={f"{steps:,} steps": {"steps": steps} for steps in (50, 200, 800)},
    shared={
        "model": "nfnet-nano", "task": "flower_photos", "batch_size": 64, "ema_decay": 0.999, "evaluations": 1,
        "threads": 1,
    },
    pairs=(("constant", "warmed up"),),
    row_label="Top-1 %",
    paper=(
        "[The paper](https://arxiv.org/abs/2102.06171) averages with a decay of 0.99999, in fine-tuning 0.9999; in its "
        "code the decay at step t is at most (1 + t) / (10 + t). It has no run without that."
    ),
    budget="18 runs of at most three minutes of one CPU core each.",
    weights="ema",
)  # fmt: skip
