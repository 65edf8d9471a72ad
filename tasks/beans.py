"""Beans: leaves healthy or with one of 2 diseases, train 1,034 / validation 133 / test 128; MIT.

Not checked against the Hub: columns, splits and their sizes.
"""

from nfft.task import Task

TASK = Task(
    name="beans",
    source="AI-Lab-Makerere/beans",
    image="image",
    label="labels",
    train="train",
    validation="validation",
    test="test",
    metric="top1",
    title="Beans",
    homepage="https://github.com/AI-Lab-Makerere/ibean",
    citation="Makerere AI Lab, Bean disease dataset, 2020",
    licence="MIT",
    note=(
        "Columns and splits are as the dataset's public card and code name them; not yet tried against the Hub itself."
    ),
)
