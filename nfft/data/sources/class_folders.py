"""Images in one folder a class: what a folder of them is opened as, without a library between."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nfft.data.decode import RawImage
from nfft.data.sources.base import images_fingerprint
from nfft.data.sources.image_folder import image_names
from nfft.errors import UserError


class ClassFolders:
    """One split: images by path, in its order; the class of each is the name of the folder that it lies in.

    Args:
        paths: of the images, absolute.
        classes: of all splits, in order.
    """

    def __init__(self, paths: Sequence[str], classes: Sequence[str]) -> None:
        self.paths, self.classes = sorted(paths), list(classes)

    def __len__(self) -> int:
        return len(self.paths)

    def class_names(self) -> list[str]:
        return self.classes

    def labels(self, classes: list[str]) -> np.ndarray:
        places = {name: place for place, name in enumerate(classes)}
        return np.array([places[class_of(path)] for path in self.paths], np.int64)

    def images(self) -> Sequence[RawImage]:
        return self.paths

    def fingerprint(self) -> str:
        """Of paths, sizes and times."""
        return images_fingerprint(self.paths, hashlib.sha256(b"class folders"))


def class_folders(folder: Path, splits: dict[str, list[Path]]) -> dict[str, ClassFolders]:
    """The images of each split, right in its folders and in those of classes.

    Args:
        folder: the task's.
        splits: the folders of each split, as `image_folder.folders_by_split` has them.

    Raises:
        UserError: when there is none.
    """
    paths = {}
    for name, roots in splits.items():
        tops = [os.path.abspath(root) for root in roots]  # noqa: PTH100
        inside = [os.path.join(top, image) for top in tops for image in image_names(top)]  # noqa: PTH118
        if inside:
            paths[name] = inside
    if not paths:
        raise UserError(f"no images found in {folder}. Expected one folder a class, or a table with rows.")
    classes = sorted({class_of(path) for inside in paths.values() for path in inside})
    return {name: ClassFolders(inside, classes) for name, inside in paths.items()}


def class_of(path: str) -> str:
    """The name of the folder that a file lies in."""
    return os.path.basename(os.path.dirname(path))  # noqa: PTH119, PTH120
