"""Oxford 102 Flowers: 102 classes, train 1,020 / validation 1,020 / test 6,149; license not known.

The dataset's own splits are kept; papers that train on train and validation together see twice the images.
"""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="flowers102",
    source="dpdl-benchmark/oxford_flowers102",
    image="image",
    label="label",
    train="train",
    validation="validation",
    test="test",
    metric="mean_per_class",  # as Kornblith et al. (2019) score it
    title="Oxford 102 Flowers",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    citation=(
        "M.-E. Nilsback, A. Zisserman, Automated flower classification over a large number of classes, ICVGIP 2008"
    ),
    note=UNTRIED,
)
