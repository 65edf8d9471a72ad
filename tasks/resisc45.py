"""NWPU-RESISC45: 45 aerial scenes, train 18,900 / validation 6,300 / test 6,300; license not known.

The data has no official split; papers differ in theirs, and this one is the repository's.
"""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="resisc45",
    source="timm/resisc45",
    image="image",
    label="label",
    train="train",
    validation="validation",
    test="test",
    title="NWPU-RESISC45",
    homepage="https://arxiv.org/abs/1703.00121",
    citation=(
        "G. Cheng, J. Han, X. Lu, Remote sensing image scene classification: benchmark and state of the art, "
        "Proceedings of the IEEE 2017"
    ),
    note=UNTRIED,
)
