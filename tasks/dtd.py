"""Describable Textures: 47 textures, train 3,760 / test 1,880; for research.

The repository has one of the ten official partitions, the first it seems, with its train and validation as train;
papers that average over all ten are not comparable.
"""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="dtd",
    source="tanganke/dtd",
    image="image",
    label="label",
    train="train",
    test="test",
    title="Describable Textures Dataset",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    citation="M. Cimpoi, S. Maji, I. Kokkinos, S. Mohamed, A. Vedaldi, Describing textures in the wild, CVPR 2014",
    license="research purposes",
    note=UNTRIED,
)
