"""Oxford-IIIT Pet: 37 breeds of cats and dogs, train 3,680 / test 3,669; Creative Commons, share alike."""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="oxford_pets",
    source="timm/oxford-iiit-pet",
    image="image",
    label="label",
    train="train",
    test="test",
    metric="mean_per_class",  # as Kornblith et al. (2019) score it
    title="Oxford-IIIT Pet",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    citation="O. M. Parkhi, A. Vedaldi, A. Zisserman, C. V. Jawahar, Cats and dogs, CVPR 2012",
    license="CC BY-SA 4.0",
    note=UNTRIED,
)
