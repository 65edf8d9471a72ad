"""CIFAR-10: 10 classes of 32 px photographs, train 50,000 / test 10,000; license not known."""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="cifar10",
    source="uoft-cs/cifar10",
    image="img",
    label="label",
    train="train",
    test="test",
    validation_fraction=0.02,  # 1,000 images, 100 of each class
    title="CIFAR-10",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    citation=(
        "A. Krizhevsky, Learning multiple layers of features from tiny images, technical report, "
        "University of Toronto 2009"
    ),
    note=UNTRIED,
)
