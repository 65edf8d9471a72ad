"""Tiny ImageNet: 200 classes of 64 px photographs, train 100,000 / valid 10,000; license not known.

Not checked: whether classes are named in words or by WordNet's identifiers.
"""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="tiny_imagenet",
    source="zh-plus/tiny-imagenet",
    image="image",
    label="label",
    train="train",
    test="valid",  # the labels of the real test images are hidden
    validation_fraction=0.02,  # 2,000 images, 10 of each class
    title="Tiny ImageNet",
    homepage="https://www.kaggle.com/c/tiny-imagenet",
    citation="Y. Le, X. Yang, Tiny ImageNet visual recognition challenge, CS 231N report, Stanford University 2015",
    note=(
        f"{UNTRIED} The images are reduced from ImageNet's, so a network pretrained there may have seen those it is "
        "scored on."
    ),
)
