"""Images in one folder a class: what a folder of them is opened as, without a library between."""

import os

import numpy as np

from nfft.data.sources.arrays import Arrays
from nfft.data.sources.base import Files, Opened
from nfft.data.sources.image_folder import Layout
from nfft.errors import UserError


def class_folders(source: str, layout: Layout) -> Opened:
    """The images of each split, by path and in its order; the class of each is the folder that it lies in.

    Args:
        source: the task's, for people.
        layout: the folders of each split.

    Raises:
        UserError: when there is none.
    """
    paths: dict[str, list[str]] = {}
    for name, roots in layout.splits.items():
        inside = [path for root in roots for path in root.picture_paths()]
        if inside:
            paths[name] = sorted(inside)
    if not paths:
        said = ". ".join(layout.account.lines) or f"{source} holds no files"
        raise UserError(f"no images found in {source}. Expected one folder a class, or a table with rows. {said}.")
    folders = {name: [path[: path.rindex(os.sep)] for path in inside] for name, inside in paths.items()}
    class_of = {folder: os.path.basename(folder) for inside in folders.values() for folder in set(inside)}  # noqa: PTH119
    classes = sorted(set(class_of.values()))
    places = {name: place for place, name in enumerate(classes)}
    place_of = {folder: places[name] for folder, name in class_of.items()}
    labels = {name: np.array([place_of[folder] for folder in inside]) for name, inside in folders.items()}
    return Opened(
        {name: Arrays(Files(inside), labels[name], classes) for name, inside in paths.items()}, layout.account
    )
