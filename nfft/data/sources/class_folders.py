"""Images in one folder a class: what a folder of them is opened as, without a library between."""

import os
from pathlib import Path

import numpy as np

from nfft.config.data_files import is_archive
from nfft.data.sources.account import few_of
from nfft.data.sources.arrays import Arrays
from nfft.data.sources.base import Files, Opened
from nfft.data.sources.image_folder import Layout
from nfft.errors import UserError
from nfft.text import shorten


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
        packed = sorted(path.name for path in Path(source).expanduser().iterdir() if is_archive(path.name))
        if packed:
            mend = f"name it, --task {shorten(f'{source}/{packed[0]}', 200)}" if len(packed) == 1 else "unpack them"
            raise UserError(f"{source} has no images but in archives, {few_of(packed)}: {mend}.")
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
