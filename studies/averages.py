"""More averages of one run's weights for validation to choose from, against the raw weights and the usual average."""

from nfft import Study

STUDY = Study(
    name="averages",
    title="Averages of several decays, their soup, and the mean of the last evaluations",
    question=(
        "What does a run gain whose validation may choose among more weights, all from the same steps: averages of "
        "constant decays and their soup, the mean of the weights at its last evaluations, or both?"
    ),
    rows={
        "raw and average": {},
        "with three decays": {"averages": "0.9,0.97,0.99"},
        "with the last five": {"soup_of_last": 5},
        "with both": {"averages": "0.9,0.97,0.99", "soup_of_last": 5},
    },
    columns={
        "Hymenoptera": {"task": "hymenoptera", "batch_size": 32},
        "Flower photos": {"task": "flower_photos"},
        "Flower photos, 20 a class": {"task": "flower_photos", "shots": 20},
        "CIFAR-10, 1,000 images": {"task": "cifar10", "task.train_images": 1_000},
        "Digits": {"task": "digits"},
    },
    shared={"model": "nfnet-nano", "batch_size": 64, "steps": 250, "evaluations": 10, "threads": 1},
    pairs=(
        ("raw and average", "with three decays"),
        ("raw and average", "with the last five"),
        ("raw and average", "with both"),
    ),
    row_label="Top-1 %",
    paper=(
        "[The paper](https://arxiv.org/abs/2102.06171) keeps one average, with a decay of 0.99999, and evaluates that. "
        "[Model soups](https://arxiv.org/abs/2203.05482) are of several runs; of one run's weights their paper has no "
        "figure."
    ),
    budget="60 runs of about a minute of one CPU core each.",
)  # fmt: skip
