"""Beans: leaves healthy or with one of 2 diseases, train 1,034 / validation 133 / test 128; MIT."""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="beans",
    source="AI-Lab-Makerere/beans",
    image="image",
    label="labels",
    train="train",
    validation="validation",
    test="test",
    title="Beans",
    homepage="https://github.com/AI-Lab-Makerere/ibean",
    citation="Makerere AI Lab, Bean disease dataset, 2020",
    license="MIT",
    note=UNTRIED,
)
