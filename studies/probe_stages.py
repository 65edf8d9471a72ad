"""A probe whose classifier sees every stage of the network, against the last layer alone."""

from nfft import Study

STUDY = Study(
    name="probe-stages",
    title="A probe of the last layer and of all stages",
    question=(
        "What does a linear classifier gain that sees what every stage of the network makes of an image, by means and "
        "peaks, beside what its last layer does? Both are fitted to the same single pass over the images."
    ),
    rows={"last layer": {}, "all stages": {"method.stages": "all"}},
    columns={
        "Hymenoptera": {"task": "hymenoptera"},
        "Flower photos": {"task": "flower_photos"},
        "Flower photos, 20 a class": {"task": "flower_photos", "shots": 20},
        "CIFAR-10, 20 a class": {"task": "cifar10", "shots": 20},
        "CIFAR-10, 1,000 images": {"task": "cifar10", "task.train_images": 1_000},
        "Tiny ImageNet, 10 a class": {"task": "tiny_imagenet", "shots": 10},
        "Digits": {"task": "digits"},
    },
    shared={"model": "nfnet-nano", "method": "probe", "threads": 1},
    pairs=(("last layer", "all stages"),),
    row_label="Top-1 %",
    paper=(
        "The paper has no linear probe. [Head2Toe](https://arxiv.org/abs/2201.03529) chooses single features of all "
        "layers by a group lasso, and with 1,000 images a task comes as far as fine-tuning does on average."
    ),
    budget="42 runs of about half a minute of one CPU core each.",
)  # fmt: skip
