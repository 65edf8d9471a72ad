"""Describable Textures: 47 textures, train 3,760 / test 1,880; for research.

The repository has one of the ten official partitions, the first it seems, with its train and validation as train;
papers that average over all ten are not comparable.
Not checked against the Hub: columns, splits and their sizes.
"""

from nfft.task import Task

TASK = Task(
    name="dtd",
    source="tanganke/dtd",
    image="image",
    label="label",
    train="train",
    validation=None,  # found by its usual names, or held out of train
    test="test",
    metric="top1",
    title="Describable Textures Dataset",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    citation="M. Cimpoi, S. Maji, I. Kokkinos, S. Mohamed, A. Vedaldi, Describing textures in the wild, CVPR 2014",
    licence="research purposes",
    note=(
        "Columns and splits are as the dataset's public card and code name them; not yet tried against the Hub itself."
    ),
)
