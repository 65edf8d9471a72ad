"""Food-101: 101 dishes, train 75,750 / validation 25,250; license not known."""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="food101",
    source="ethz/food101",
    image="image",
    label="label",
    train="train",
    test="validation",  # the dataset's test images bear this name on the Hub
    validation_fraction=0.02,  # 1,515 images, 15 of each class
    title="Food-101",
    homepage="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    citation=(
        "L. Bossard, M. Guillaumin, L. Van Gool, Food-101: mining discriminative components with random forests, "
        "ECCV 2014"
    ),
    note=UNTRIED,
)
