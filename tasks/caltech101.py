"""Caltech-101: 101 kinds of objects and background, train about 3,060 / test about 6,085; Creative Commons.

Not checked: whether background is a class.
"""

from nfft import Task

TASK = Task(
    name="caltech101",
    source="dpdl-benchmark/caltech101",
    train="train",
    test="test",
    metric="mean_per_class",  # as Kornblith et al. (2019) score it
    title="Caltech-101",
    homepage="https://data.caltech.edu/records/mzrjq-6wc02",
    citation=(
        "L. Fei-Fei, R. Fergus, P. Perona, Learning generative visual models from few training examples, "
        "CVPR workshops 2004"
    ),
    license="CC BY 4.0",
    note=(
        "Splits are as public code names them, columns are found by type and usual names; "
        "not yet tried against the Hub itself."
    ),
)
