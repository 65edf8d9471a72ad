"""Tiny ImageNet: 200 classes of 64 px photographs, train 100,000 / valid 10,000; licence not known.

Not checked against the Hub: columns, splits and their sizes,
and whether classes are named in words or by WordNet's identifiers.
"""

from nfft.task import Task

TASK = Task(
    name="tiny_imagenet",
    source="zh-plus/tiny-imagenet",
    image="image",
    label="label",
    train="train",
    validation=None,  # found by its usual names, or held out of train
    test="valid",  # the labels of the real test images are hidden
    validation_fraction=0.02,  # 2,000 images, 10 of each class
    metric="top1",
    title="Tiny ImageNet",
    homepage="https://www.kaggle.com/c/tiny-imagenet",
    citation="Y. Le, X. Yang, Tiny ImageNet visual recognition challenge, CS 231N report, Stanford University 2015",
    licence=None,
    note=(
        "Columns and splits are as the dataset's public card and code name them; not yet tried against the Hub itself. "
        "The images are reduced from ImageNet's, so a network pretrained there may have seen those it is scored on."
    ),
)
