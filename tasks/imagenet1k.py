"""ImageNet-1k: 1,000 classes, train 1,281,167 / validation 50,000; for non-commercial research and education."""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="imagenet1k",
    source="ILSVRC/imagenet-1k",
    image="image",
    label="label",
    train="train",
    test="validation",  # the labels of the real test images are hidden
    validation_fraction=0.01,  # about 12,800 images; the NFNet authors hold out about 10,000
    title="ImageNet-1k",
    homepage="https://www.image-net.org/",
    citation="O. Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015",
    license="non-commercial research and education",
    note=f"{UNTRIED} Gated: accept the terms on its page and log in first.",
)
