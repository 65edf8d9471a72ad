"""SUN397: 397 scenes, train 19,850 / test 19,850; licence not known.

These are 50 images of each class in each split, as in the first of the ten official partitions it seems, not all
108,754 images.
Not checked against the Hub: columns, splits and their sizes.
"""

from nfft.task import Task

TASK = Task(
    name="sun397",
    source="tanganke/sun397",
    image="image",
    label="label",
    train="train",
    validation=None,  # found by its usual names, or held out of train
    test="test",
    validation_fraction=0.02,  # 397 images, one of each class
    metric="top1",
    title="SUN397",
    homepage="https://vision.princeton.edu/projects/2010/SUN/",
    citation=(
        "J. Xiao, J. Hays, K. A. Ehinger, A. Oliva, A. Torralba, SUN database: large-scale scene recognition "
        "from abbey to zoo, CVPR 2010"
    ),
    licence=None,
    note=(
        "Columns and splits are as the dataset's public card and code name them; not yet tried against the Hub itself."
    ),
)
