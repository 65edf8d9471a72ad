"""How a folder of images is laid out: which of its folders are splits, and which are classes."""

import glob
import os
from pathlib import Path

from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

from nfft.errors import UserError

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
ENDINGS = frozenset(ImageFolder.EXTENSIONS)
WORDS = {word for names in SPLIT_NAMES.values() for word in names}


def is_repository(folder: Path) -> bool:
    """Whether a folder is laid out like a data set on the Hub, rather than as folders of images."""

    def has(*marks: str) -> bool:
        return any(next(folder.glob(mark), None) is not None for mark in marks)

    if has("metadata.*", "*.parquet", "data/*.parquet", "*/*.parquet") or _is_card(folder / "README.md"):
        return True
    # People keep notes beside their images, too.
    return has("README.md", "*.json*", "*.csv") and not any(map(_holds_images, _folders(folder)))


def files_by_split(folder: Path) -> dict[str, list[str]]:
    """Patterns of a folder's images by split, in lower case: its own folders are splits if all are named so.

    Else they are classes, of one split. `datasets` would take any word in a path for a split, a class "train station"
    for train, and a folder at any depth for a class.

    Raises:
        UserError: for any other layout, in which images would get into a wrong split or class.
    """
    subfolders = _image_folders(folder)
    splits = [subfolder for subfolder in subfolders if subfolder.name.lower() in WORDS]
    others = [subfolder.name for subfolder in subfolders if subfolder not in splits]
    if others and any(_image_in(split) is None for split in splits):
        raise UserError(
            f"{folder} has {', '.join(split.name for split in splits)}, which hold folders as splits do, beside "
            f"{', '.join(others[:5])}. Expected splits alone or classes alone: move the others elsewhere."
        )
    if others or not splits:
        _check_classes(folder, subfolders)
        return {"train": [_pattern(folder)]}
    patterns: dict[str, list[str]] = {}
    for split in splits:
        _check_classes(split, _image_folders(split))
        patterns.setdefault(split.name.lower(), []).append(_pattern(split))
    return patterns


def _check_classes(folder: Path, classes: list[Path]) -> None:
    """See that all images below `folder` lie right in the folder of their class."""
    loose = _image_in(folder)
    if classes and loose is not None:
        raise UserError(f"{folder / loose} lies beside the folders of classes: move it into one of them, or away.")
    for class_folder in classes:
        for deeper in _image_folders(class_folder):
            raise UserError(
                f"{deeper} holds images a folder below {class_folder.name}: expected those of a class right in its "
                f"folder. Move them up, or, if {deeper.name} is a class itself, name the folder it is in: "
                f"{class_folder}."
            )


def _pattern(folder: Path) -> str:
    return f"{glob.escape(str(folder))}/**"


def _is_card(readme: Path) -> bool:
    """Whether it begins with metadata, as cards of the Hub do."""
    return readme.is_file() and readme.read_bytes().startswith(b"---")


def _folders(folder: Path) -> list[Path]:
    """Those inside that `datasets` looks into, by name."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith((".", "__")) and entry.is_dir()]
    return [folder / name for name in sorted(names)]


def _image_in(folder: Path) -> str | None:
    """The name of an image right in the folder."""
    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries if not entry.name.startswith("."))
        return next((name for name in names if os.path.splitext(name)[1].lower() in ENDINGS), None)  # noqa: PTH122


def _image_folders(folder: Path) -> list[Path]:
    """Those inside that hold images."""
    return [subfolder for subfolder in _folders(folder) if _holds_images(subfolder)]


def _holds_images(folder: Path) -> bool:
    """Whether there is an image in it, at any depth."""
    return _image_in(folder) is not None or any(map(_holds_images, _folders(folder)))
