"""EuroSAT: 10 kinds of land use from 64 px satellite images, train 16,200 / validation 5,400 / test 5,400; MIT.

The data has no official split; papers differ in theirs, and this one is the repository's.
Not checked against the Hub: columns, splits and their sizes.
"""

from nfft.task import Task

TASK = Task(
    name="eurosat",
    source="blanchon/EuroSAT_RGB",
    image="image",
    label="label",
    train="train",
    validation="validation",
    test="test",
    metric="top1",
    title="EuroSAT (RGB)",
    homepage="https://github.com/phelber/EuroSAT",
    citation=(
        "P. Helber, B. Bischke, A. Dengel, D. Borth, EuroSAT: a novel dataset and deep learning benchmark for "
        "land use and land cover classification, IEEE JSTARS 2019"
    ),
    licence="MIT",
    note=(
        "Columns and splits are as the dataset's public card and code name them; not yet tried against the Hub itself."
    ),
)
