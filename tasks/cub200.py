"""CUB-200-2011: 200 species of birds, train 5,994 / test 5,794; license not known."""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="cub200",
    source="bentrevett/caltech-ucsd-birds-200-2011",
    image="image",
    label="label",
    train="train",
    test="test",
    title="Caltech-UCSD Birds-200-2011",
    homepage="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    citation=(
        "C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie, The Caltech-UCSD Birds-200-2011 dataset, "
        "technical report, California Institute of Technology 2011"
    ),
    note=(
        f"{UNTRIED} Some images are also in ImageNet, so a network pretrained there may have seen part of the test "
        "images."
    ),
)
