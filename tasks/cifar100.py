"""CIFAR-100: 100 classes of 32 px photographs, train 50,000 / test 10,000; licence not known.

Not checked against the Hub: columns, splits and their sizes.
"""

from nfft.task import Task

TASK = Task(
    name="cifar100",
    source="uoft-cs/cifar100",
    image="img",
    label="fine_label",  # coarse_label has the 20 groups of classes
    train="train",
    validation=None,  # found by its usual names, or held out of train
    test="test",
    validation_fraction=0.02,  # 1,000 images, 10 of each class
    metric="top1",
    title="CIFAR-100",
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
