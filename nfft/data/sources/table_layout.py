"""Which folders of images have tables beside these, and which of several tables says what."""

from nfft.config.data_files import COLUMN_TABLES, ending
from nfft.config.task import NONE, Task
from nfft.data.sources.listing import Folder
from nfft.data.sources.split_words import split_of

ENDINGS = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".pq")


def tables_in(folder: Folder) -> list[str]:
    """Names of the tables right in a folder."""
    return [name for name in folder.files if ending(name) in ENDINGS]


def folder_of_tables(root: Folder) -> Folder | None:
    """The folder whose tables say what its images are, this or the only one in it; None where folders are classes."""
    inside = [folder for folder in root.folders if folder.holds_pictures]
    if not tables_in(root):
        return folder_of_tables(inside[0]) if len(inside) == 1 and not root.pictures else None
    if root.pictures or len(inside) == 1:
        return root
    if not inside:
        # Of columns alone, it may be a repository of the Hub's.
        return None if any(ending(name) in COLUMN_TABLES for name in tables_in(root)) else root
    are_splits = all(split_of(folder.name) for folder in inside)
    is_flat = not any(deeper.holds_pictures for folder in inside for deeper in folder.folders)
    if are_splits and is_flat and not any(map(tables_in, inside)):
        return root
    return root if any(is_metadata(name) for name in tables_in(root)) else None


def is_metadata(name: str) -> bool:
    """Whether a file bears the name by which `datasets` knows a table of images, in any capitals."""
    return name.lower().startswith("metadata.")


def split_folders(task: Task, root: Folder) -> dict[str, list[Folder]] | None:
    """The folders of splits, by their names in lower case, each with a table of its own; None for any other layout."""
    inside = [folder for folder in root.folders if folder.holds_pictures]
    kinds = [split_of(folder.name) for folder in inside]
    if not inside or not all(kinds) or not any(map(tables_in, inside)):
        return None
    is_flat = not any(deeper.holds_pictures for folder in inside for deeper in folder.folders)
    if not is_flat and not any(is_metadata(name) for folder in inside for name in tables_in(folder)):
        return None
    splits: dict[str, list[Folder]] = {}
    for folder, kind in zip(inside, kinds, strict=True):
        if getattr(task, str(kind)) != NONE:
            splits.setdefault(folder.name.lower(), []).append(folder)
    return splits
