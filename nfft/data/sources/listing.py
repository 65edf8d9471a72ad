"""What is below a folder: its pictures, its other files, and what of it is not used and why."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from PIL import Image

from nfft.data import decode
from nfft.data.sources.account import Account, Unused, counted, few_of
from nfft.errors import UserError
from nfft.text import shorten

# What systems leave behind beside people's files, in lower case. Nobody put it there: nothing is said of it.
DROPPINGS = frozenset({
    ".ds_store", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", ".directory", ".localized",
    "__macosx", ".appledouble", ".appledb", ".appledesktop", ".fseventsd", ".spotlight-v100", ".temporaryitems",
    ".trashes", ".documentrevisions-v100", "@eadir", "#recycle", "#snapshot", ".snapshot", ".snapshots", "@tmp",
    "@recycle", ".@__thumb", "$recycle.bin", "recycler", "system volume information", "found.000", "lost+found",
    ".ipynb_checkpoints", "__pycache__", ".git", ".gitattributes", ".gitignore", ".gitkeep", ".keep", ".svn", ".hg",
    ".cache", ".nomedia", ".thumbnails", ".picasa.ini", "picasa.ini", ".dropbox", ".dropbox.attr", ".stfolder",
    ".nextcloudsync.log", ".sync", ".idea", ".vscode", ".venv", ".huggingface",
})  # fmt: skip
DROPPING_STARTS = (
    "._",
    ".trash-",
    ".fuse_hidden",
    ".nfs",
    "~$",
    ".~lock.",
    ".com.apple.",
    ".syncthing.",
    ".goutputstream",
)
# What may begin as pictures do, and is not to be used: negatives of cameras, scans of slides, copies, parts of files.
NOT_LOOKED_INTO = frozenset({
    ".3fr", ".ai", ".arw", ".avi", ".bak", ".cr2", ".cr3", ".crdownload", ".csv", ".db", ".dcr", ".dng", ".docx",
    ".download", ".eps", ".erf", ".fff", ".gz", ".h5", ".html", ".iiq", ".ini", ".json", ".jsonl", ".kdc", ".log",
    ".lrv", ".m4v", ".mat", ".md", ".mef", ".mos", ".mov", ".mp4", ".mrw", ".ndpi", ".nef", ".npy", ".npz", ".nrw",
    ".old", ".orf", ".orig", ".parquet", ".part", ".partial", ".pdf", ".pef", ".pickle", ".pkl", ".ps", ".psd", ".pt",
    ".pth", ".py", ".raf", ".raw", ".rw2", ".rwl", ".safetensors", ".scn", ".sr2", ".srf", ".srw", ".svg", ".svs",
    ".swp", ".tar", ".tgz", ".thm", ".tmp", ".tsv", ".txt", ".x3f", ".xcf", ".xls", ".xlsx", ".xml", ".xmp", ".yaml",
    ".yml", ".zip",
})  # fmt: skip
# Deeper than this no one keeps pictures; a tree that goes on is made by a program gone wrong.
DEEPEST = 64
# Endings that are named one by one in an account.
MOST_ENDINGS = 8
HEAD = 32
# Reasons that call for a name, since a file is hard to find by them.
LINK_TO_NOTHING, LINK_UP = "link to nothing", "link to a folder above"
NAMED = (LINK_TO_NOTHING, LINK_UP, "pipe", "socket", "device")


@dataclass(frozen=True)
class Folder:
    """What is right in a folder, each kind by name in order.

    Attributes:
        path: of the folder, as it was asked for: links in it are left as they are.
        pictures: names of the files that are read as pictures.
        files: names of the other files, such as tables.
        folders: those inside, links to folders among them; systems' own and hidden ones are not.
        unused: of what else is right in it the kind ("file" or "folder"), why it is not used, and its name.
    """

    path: str
    pictures: tuple[str, ...]
    files: tuple[str, ...]
    folders: tuple["Folder", ...]
    unused: tuple[tuple[str, str, str], ...]

    @property
    def name(self) -> str:
        """The last part of its path."""
        return os.path.basename(self.path)  # noqa: PTH119

    @property
    def holds_pictures(self) -> bool:
        """Whether there is one in it, at any depth."""
        return bool(self.pictures) or any(folder.holds_pictures for folder in self.folders)

    def walk(self) -> Iterator["Folder"]:
        """This folder and all below it, each before those inside it."""
        yield self
        for folder in self.folders:
            yield from folder.walk()

    def picture_paths(self) -> list[str]:
        """All pictures in it and below, by path in order."""
        starts = ((os.path.join(folder.path, ""), folder.pictures) for folder in self.walk())  # noqa: PTH118
        return sorted(start + name for start, names in starts for name in names)


def list_folder(path: str | os.PathLike) -> Folder:
    """Everything below a folder. Links are followed, but none back to a folder above.

    Raises:
        UserError: for a folder that may not be read.
    """
    return _list(os.path.abspath(path), {}, picture_endings())  # noqa: PTH100


def account_of(folders: Iterable[Folder]) -> Account:
    """What is not used of what is right in these folders, by reason; rare endings together."""
    endings: list[str] = []
    others: dict[tuple[str, str], list[str]] = {}
    for folder in folders:
        endings += map(_ending_in_words, folder.files)
        for what, why, name in folder.unused:
            others.setdefault((what, why), []).append(name)
    unused = counted("file", endings)
    if len(unused) > MOST_ENDINGS:
        rest = sum(entry.count for entry in unused[MOST_ENDINGS - 1 :])
        unused = (*unused[: MOST_ENDINGS - 1], Unused("file", "other endings", rest))
    reasons = sorted(others.items())
    return Account(
        (*unused, *(Unused(what, why, len(names)) for (what, why), names in reasons)),
        details=tuple(f"{why}: {few_of(names)}" for (_, why), names in reasons if why in NAMED),
    )


def unused_in(folders: Iterable[Folder]) -> tuple[Unused, ...]:
    """The same without names of files."""
    return account_of(folders).unused


@cache
def picture_endings() -> frozenset[str]:
    """Endings, in lower case, of files that are read as pictures here: what Pillow and its plug-ins can decode."""
    Image.init()
    known = {ending for ending, kind in Image.registered_extensions().items() if kind in decode.FORMATS}
    # Pictures of several views are JPEG files to Pillow.
    added = {ending for plug_in in decode.PLUG_INS if plug_in.is_installed for ending in plug_in.endings}
    return frozenset(known | added | {".mpo"})


def is_dropping(name: str) -> bool:
    """Whether a file or folder of this name is left behind by a system."""
    lower = name.lower()
    return lower in DROPPINGS or lower.startswith(DROPPING_STARTS)


def ending_of(name: str) -> str:
    """The ending of a file's name in lower case, with its dot; "" where it has none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def may_be_any(ending: str) -> bool:
    """Whether a file of this ending, which is no picture's, may be one by its content."""
    return ending not in NOT_LOOKED_INTO and not ending.endswith("~") and decode.plug_in_of(ending) is None


def picture_kind(head: bytes) -> str | None:
    """The ending that a file with these first bytes ought to have, if it is a picture."""
    for start, ending in _STARTS.items():
        if head.startswith(start):
            return ending
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp":
        brands = {head[start : start + 4] for start in (8, *range(16, HEAD, 4))}
        return ".avif" if brands & {b"avif", b"avis"} else ".heic" if brands & _HEIC else None
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b"\n\r\t ":
        return ".ppm" if head[3:4].isdigit() or head[3:4] == b"#" else None
    # The name of a bitmap is short, but four bytes of it are always 0.
    return ".bmp" if head[:2] == b"BM" and head[6:10] == bytes(4) and len(head) == HEAD else None


_STARTS = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"GIF87a": ".gif",
    b"GIF89a": ".gif",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"\0\0\0\x0cjP  ": ".jp2",
    b"\xff\x4f\xff\x51": ".jp2",
    b"qoif": ".qoi",
    b"\xff\x0a": ".jxl",
    b"\0\0\0\x0cJXL ": ".jxl",
}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}


def _list(path: str, above: dict[tuple[int, int], str], endings: frozenset[str]) -> Folder:
    try:
        status = os.stat(path)  # noqa: PTH116
        with os.scandir(path) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"{shorten(path, 200)} cannot be read: {error.strerror}. Mend that, or move it away."
        ) from error
    above = {**above, (status.st_dev, status.st_ino): path}
    pictures, files, folders, unused = [], [], [], []
    for entry in entries:
        name = entry.name
        if is_dropping(name):
            continue
        ending = ending_of(name)
        if not _is_file(entry):
            if (why := _why_no_folder(entry, above)) is None:
                folders.append(_list(entry.path, above, endings))
            else:
                unused.append(why)
        elif name.startswith("."):
            unused += [("file", "hidden", name)] if ending in endings else []
        elif ending in endings or (kind := _kind_inside(entry.path, ending)) in endings:
            pictures.append(name)
        elif kind is not None and (plug_in := decode.plug_in_of(kind)) is not None:
            unused.append(("file", f"{kind}: {plug_in.advice}", name))
        else:
            files.append(name)
    return Folder(path, tuple(pictures), tuple(files), tuple(folders), tuple(unused))


def _is_file(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _why_no_folder(entry: os.DirEntry, above: dict[tuple[int, int], str]) -> tuple[str, str, str] | None:
    """What an entry is in place of a folder to look into, and why it is not used; None for such a folder."""
    name = entry.name
    try:
        status = entry.stat()
    except OSError:
        return ("file", LINK_TO_NOTHING, name)
    if not stat.S_ISDIR(status.st_mode):
        return ("file", _special(status.st_mode), name)
    if entry.name.startswith("."):
        return ("folder", "hidden", name)
    # An entry has no number of its device on some systems.
    status = os.stat(entry.path)  # noqa: PTH116
    if (status.st_dev, status.st_ino) in above:
        return ("folder", LINK_UP, name)
    return ("folder", f"deeper than {DEEPEST} folders", name) if len(above) >= DEEPEST else None


def _special(mode: int) -> str:
    """What a file that is neither a regular one nor a folder is."""
    return "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"


def _kind_inside(path: str, ending: str) -> str | None:
    """The ending that suits what is in a file whose own says nothing of it, by its first bytes; None for no picture."""
    if decode.plug_in_of(ending) is not None:
        return ending
    if not may_be_any(ending):
        return None
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return picture_kind(file.read(HEAD))
    except OSError:
        return None


def _ending_in_words(name: str) -> str:
    """The ending of a file that is not used."""
    return shorten(ending_of(name), 16) or "no picture, without ending"
