"""CUB-200-2011: 200 species of birds, train 5,994 / test 5,794; licence not known.

Not checked against the Hub: columns, splits and their sizes.
"""

from nfft.task import Task

TASK = Task(
    name="cub200",
    source="bentrevett/caltech-ucsd-birds-200-2011",
    image="image",
    label="label",
    train="train",
    validation=None,  # found by its usual names, or held out of train
    test="test",
    metric="top1",
    title="Caltech-UCSD Birds-200-2011",
    homepage="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    citation=(
        "C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie, The Caltech-UCSD Birds-200-2011 dataset, "
        "technical report, California Institute of Technology 2011"
    ),
    licence=None,
    note=(
        "Columns and splits are as the dataset's public card and code name them; not yet tried against the Hub itself. "
        "Some images are also in ImageNet, so a network pretrained there may have seen part of the test images."
    ),
)
