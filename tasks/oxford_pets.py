"""Oxford-IIIT Pet: 37 breeds of cats and dogs, train 3,680 / test 3,669; Creative Commons, share alike.

Not checked against the Hub: columns, splits and their sizes.
"""

from nfft.task import Task

TASK = Task(
    name="oxford_pets",
    source="timm/oxford-iiit-pet",
    image="image",
    label="label",
    train="train",
    validation=None,  # found by its usual names, or held out of train
    test="test",
    metric="mean_per_class",  # as Kornblith et al. (2019) score it
    title="Oxford-IIIT Pet",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    citation="O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar, Cats and dogs, CVPR 2012",
    licence="CC BY-SA 4.0",
    note=(
        "Columns and splits are as the dataset's public card and code name them; not yet tried against the Hub itself."
    ),
)
