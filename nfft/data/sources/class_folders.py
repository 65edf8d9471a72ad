"""Images in one folder a class: what a folder of them is opened as, without a library between."""

import os
from pathlib import Path

import numpy as np

from nfft.data.sources.arrays import Arrays
from nfft.data.sources.image_folder import image_names
from nfft.errors import UserError


def class_folders(folder: Path, splits: dict[str, list[Path]]) -> dict[str, Arrays]:
    """The images of each split, by path and in its order; the class of each is the folder that it lies in.

    Args:
        folder: the task's.
        splits: the folders of each split, as `image_folder.folders_by_split` has them.

    Raises:
        UserError: when there is none.
    """
    paths: dict[str, list[str]] = {}
    for name, roots in splits.items():
        tops = [os.path.abspath(root) for root in roots]  # noqa: PTH100
        inside = [os.path.join(top, image) for top in tops for image in image_names(top)]  # noqa: PTH118
        if inside:
            paths[name] = sorted(inside)
    if not paths:
        raise UserError(f"no images found in {folder}. Expected one folder a class, or a table with rows.")
    classes = sorted({class_of(path) for inside in paths.values() for path in inside})
    places = {name: place for place, name in enumerate(classes)}
    labels = {name: np.array([places[class_of(path)] for path in inside]) for name, inside in paths.items()}
    return {name: Arrays(inside, labels[name], classes) for name, inside in paths.items()}


def class_of(path: str) -> str:
    """The name of the folder that a file lies in."""
    return os.path.basename(os.path.dirname(path))  # noqa: PTH119, PTH120
