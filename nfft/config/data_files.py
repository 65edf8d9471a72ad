"""Which files a task may be read from, by their endings, and what to do with those that it cannot."""

import shlex
import stat
from pathlib import Path

from nfft.errors import UserError
from nfft.text import shorten

# Endings that say what a file is, in any case; of several, such as .csv.gz, the longest one counts.
TEXT_TABLES = (".csv", ".tsv", ".tab", ".psv", ".txt")
JSON_TABLES = (".jsonl", ".ndjson", ".json")
COLUMN_TABLES = (".parquet", ".pq", ".arrow", ".feather")
TABLES = (*TEXT_TABLES, *JSON_TABLES, *COLUMN_TABLES)
ARCHIVES = (".zip", ".tar")
# What `save_to_disk` of `datasets` leaves in a folder, of a Dataset or of a DatasetDict.
SAVED = ("state.json", "dataset_dict.json")
# Ending of what is refused, and what makes of it something that is read.
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_ARRAYS = (".npz", ".npy", ".h5", ".hdf5", ".mat", ".pkl", ".pickle", ".pt", ".pth", ".tfrecord", ".lmdb", ".sqlite")
_OTHER_ARCHIVES = (".rar", ".7z")
_UNREAD = (*_COMPRESSED_TARS, *_SPREADSHEETS, *_ARRAYS, *_OTHER_ARCHIVES, *_COMPRESSED)


def ending(name: str) -> str:
    """What a file is by its name: one of the endings that are known, in lower case; "" for any other."""
    name = name.lower()
    return next((known for known in (*_UNREAD, *TABLES, *ARCHIVES) if name.endswith(known)), "")


def is_archive(name: str) -> bool:
    """Whether a file is an archive by its name, read in place or not."""
    return ending(name) in (*ARCHIVES, *_COMPRESSED_TARS, *_OTHER_ARCHIVES)


def check_file(path: Path) -> None:
    """See that a task can be read from a file.

    Raises:
        UserError: with what to do instead, when it is of another kind, or no file at all but a pipe or a device.
    """
    name = shorten(path.name, 100)
    if (special := special_kind(path)) is not None:
        raise UserError(f"{shorten(str(path), 200)} is {special}, not a file: copy what it holds into a file.")
    kind = ending(path.name)
    if kind in (*TABLES, *ARCHIVES):
        return
    quoted = shlex.quote(path.name)
    if kind in _COMPRESSED_TARS:
        folder = shlex.quote(path.name[: -len(kind)])
        advice = f"unpack it, `mkdir {folder} && tar -xf {quoted} -C {folder}`, and name the folder"
    elif kind in _OTHER_ARCHIVES:
        advice = "unpack it and name the folder"
    elif kind in _COMPRESSED:
        tool = {".gz": "gunzip", ".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd"}[kind]
        advice = f"unpack it first, `{tool} -k {quoted}`"
    elif kind in _SPREADSHEETS:
        advice = "save the sheet as CSV"
    elif kind in _ARRAYS:
        advice = "hand arrays over from Python, nfft.fine_tune((images, labels)), or save them as files of images"
    else:
        advice = "name a folder of images, or a table (.csv, .tsv, .jsonl, .parquet)"
    raise UserError(f"{name}: nfft does not read {kind or 'such'} files as data; {advice}.")


def special_kind(path: Path) -> str | None:
    """What a path leads to that is neither a file nor a folder; None where it is one, or nothing."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    return next((words for is_kind, words in kinds.items() if is_kind(mode)), None)
