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
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = sorted(paths)
        self.folders = [os.path.basename(os.path.dirname(path)) for path in self.paths]  # noqa: PTH119, PTH120

    def __len__(self) -> int:
        return len(self.paths)

    def class_names(self) -> list[str]:
        return sorted(set(self.folders))

    def labels(self, classes: list[str]) -> np.ndarray:
        places = {name: place for place, name in enumerate(classes)}
        if unknown := sorted(set(self.folders) - places.keys()):
            raise UserError(
                f"classes that train lacks: {', '.join(unknown[:5])}. Add training images of them or remove them."
            )
        return np.array([places[name] for name in self.folders], np.int64)

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
    tables = {}
    for name, roots in splits.items():
        paths = []
        for root in roots:
            top = os.path.abspath(root)  # noqa: PTH100
            paths += [os.path.join(top, name) for name in image_names(top)]  # noqa: PTH118
        if paths:
            tables[name] = ClassFolders(paths)
    if not tables:
        raise UserError(f"no images found in {folder}. Expected one folder a class, or a table with rows.")
    return tables
