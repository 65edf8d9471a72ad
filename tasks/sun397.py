"""SUN397: 397 scenes, train 19,850 / test 19,850; license not known.

These are 50 images of each class in each split, as in the first of the ten official partitions it seems, not all
108,754 images.
"""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="sun397",
    source="tanganke/sun397",
    image="image",
    label="label",
    train="train",
    test="test",
    validation_fraction=0.02,  # 397 images, one of each class
    title="SUN397",
    homepage="https://vision.princeton.edu/projects/2010/SUN/",
    citation=(
        "J. Xiao, J. Hays, K. A. Ehinger, A. Oliva, A. Torralba, SUN database: large-scale scene recognition "
        "from abbey to zoo, CVPR 2010"
    ),
    note=UNTRIED,
)
