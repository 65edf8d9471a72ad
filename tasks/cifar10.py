"""CIFAR-10: 10 classes of 32 px photographs, train 50,000 / test 10,000; licence not known.

Not checked against the Hub: columns, splits and their sizes.
"""

from nfft.task import Task

TASK = Task(
    name="cifar10",
    source="uoft-cs/cifar10",
    image="img",
    label="label",
    train="train",
    validation=None,  # found by its usual names, or held out of train
    test="test",
    validation_fraction=0.02,  # 1,000 images, 100 of each class
    metric="top1",
    title="CIFAR-10",
    homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
    citation=(
        "A. Krizhevsky, Learning multiple layers of features from tiny images, technical report, "
        "University of Toronto 2009"
    ),
    licence=None,
    note=(
        "Columns and splits are as the dataset's public card and code name them; not yet tried against the Hub itself."
    ),
)
