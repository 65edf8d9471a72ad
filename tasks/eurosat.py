"""EuroSAT: 10 kinds of land use from 64 px satellite images, train 16,200 / validation 5,400 / test 5,400; MIT.

The data has no official split; papers differ in theirs, and this one is the repository's.
"""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="eurosat",
    source="blanchon/EuroSAT_RGB",
    image="image",
    label="label",
    train="train",
    validation="validation",
    test="test",
    title="EuroSAT (RGB)",
    homepage="https://github.com/phelber/EuroSAT",
    citation=(
        "P. Helber, B. Bischke, A. Dengel, D. Borth, EuroSAT: a novel dataset and deep learning benchmark for "
        "land use and land cover classification, IEEE JSTARS 2019"
    ),
    license="MIT",
    note=UNTRIED,
)
