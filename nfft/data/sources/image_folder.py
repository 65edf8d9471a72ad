"""How a folder of images is laid out: which of its folders are splits, and which are classes."""

import os
from collections.abc import Iterator
from pathlib import Path

from nfft.errors import UserError

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
# Of files that are taken for images, as `datasets` has them.
ENDINGS = frozenset({
    ".apng", ".blp", ".bmp", ".bufr", ".bw", ".cur", ".dcx", ".dds", ".dib", ".emf", ".eps", ".fit", ".fits", ".flc",
    ".fli", ".ftc", ".ftu", ".gbr", ".gif", ".grib", ".icb", ".icns", ".ico", ".iim", ".im", ".j2c", ".j2k", ".jfif",
    ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpeg", ".mpg", ".msp", ".pbm", ".pcd", ".pcx", ".pgm",
    ".png", ".pnm", ".ppm", ".ps", ".psd", ".pxr", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".vda",
    ".vst", ".webp", ".wmf", ".xbm", ".xpm",
})  # fmt: skip
# Files that say more of the images beside them; `datasets` reads these.
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
WORDS = {word for names in SPLIT_NAMES.values() for word in names}


def is_repository(folder: Path) -> bool:
    """Whether a folder is laid out like a data set on the Hub, rather than as folders of images."""

    def has(*marks: str) -> bool:
        return any(next(folder.glob(mark), None) is not None for mark in marks)

    if has("metadata.*", "*.parquet", "data/*.parquet", "*/*.parquet") or _is_card(folder / "README.md"):
        return True
    # People keep notes beside their images, too.
    return has("README.md", "*.json*", "*.csv") and not any(map(_holds_images, _folders(folder)))


def folders_by_split(folder: Path) -> dict[str, list[Path]]:
    """The folders of each split, by its name in lower case: a folder's own are splits if all are named so.

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
        return {"train": [folder]}
    folders: dict[str, list[Path]] = {}
    for split in splits:
        _check_classes(split, _image_folders(split))
        folders.setdefault(split.name.lower(), []).append(split)
    return folders


def has_metadata(folders: dict[str, list[Path]]) -> bool:
    """Whether a table beside the images of a split says what they are."""
    return any((root / name).is_file() for roots in folders.values() for root in roots for name in METADATA)


def image_names(folder: str) -> Iterator[str]:
    """Images in a folder and those below it, by their paths from there, in no order."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not entry.name.startswith("__"):
                yield from (f"{entry.name}/{name}" for name in image_names(entry.path))
            elif os.path.splitext(entry.name)[1].lower() in ENDINGS and entry.is_file():  # noqa: PTH122
                yield entry.name


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
