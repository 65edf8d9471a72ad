"""Archives that are read in place: zip and tar files of class folders, and shards of WebDataset."""

import hashlib
import os
import re
import shlex
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nfft.config.task import Task
from nfft.data.decode import RawImage, UnreadableImage
from nfft.data.sources.account import Account, Unused, counted
from nfft.data.sources.arrays import Arrays
from nfft.data.sources.base import Opened, in_order
from nfft.data.sources.cached import identity
from nfft.data.sources.column_names import LABEL_NAMES, MORE_LABEL_NAMES
from nfft.data.sources.image_folder import layout_of
from nfft.data.sources.listing import (
    DEEPEST,
    HEAD,
    Folder,
    ending_of,
    is_dropping,
    may_be_any,
    picture_endings,
    picture_kind,
)
from nfft.data.sources.split_words import split_of
from nfft.errors import UserError
from nfft.files import decode_json
from nfft.text import shorten

# Bytes of one file in an archive: a picture of more is none.
LARGEST = 1 << 30
# Of one whose ending says nothing: so many, packed, have the first bytes in them.
LOOKED_AT = 1024
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name there, which is never taken for a path, and where its bytes are.

    Attributes:
        start: of its bytes; in a zip file, of the header before them.
        packed: how many bytes it takes in the archive.
        size: how many it has.
        method: how it is packed; None in tar files.
        checksum: CRC-32 of its bytes; None in tar files.
        kind: the ending that it ought to have by its first bytes, where its own says nothing and these were looked at.
    """

    archive: Path
    name: str
    start: int
    packed: int
    size: int
    method: int | None = None
    checksum: int | None = None
    kind: str | None = None

    @property
    def ending(self) -> str:
        return ending_of(self.name)

    @property
    def is_image(self) -> bool:
        return not picture_endings().isdisjoint((self.ending, self.kind))

    def looked_into(self) -> "Member":
        """The same, with the kind that a file on the disk would have by its content."""
        if self.is_image or not may_be_any(self.ending):
            return self
        with suppress(OSError, zlib.error):
            head = self._packed(LOOKED_AT)
            head = zlib.decompressobj(-15).decompress(head, HEAD) if self.method == DEFLATED else head[:HEAD]
            return replace(self, kind=picture_kind(head))
        return self

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            UnreadableImage: when they are cut off, damaged or too many.
        """
        if self.size > LARGEST:
            raise UnreadableImage(f"it has {self.size:,} bytes, more than a picture does")
        try:
            content = self._packed(self.packed)
            if self.method == DEFLATED:
                content = zlib.decompressobj(-15).decompress(content, self.size + 1)
        except (OSError, zlib.error) as error:
            raise UnreadableImage(f"{error}") from error
        if len(content) != self.size or self.checksum not in (None, zlib.crc32(content)):
            raise UnreadableImage("it is damaged in the archive")
        return content

    def _packed(self, count: int) -> bytes:
        """Its first bytes, as they are packed."""
        with self.archive.open("rb") as file:
            file.seek(self.start)
            if self.method is not None:
                header = file.read(30)
                file.seek(int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little"), 1)
            return file.read(min(count, self.packed))


class Members(Sequence):
    """Bytes of files in archives, by row, read as they are asked for."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, row: int) -> RawImage:  # type: ignore[override]
        return self.members[row].read()


class ArchiveTable(Arrays):
    """One split of images in archives."""

    def __init__(self, members: Sequence[Member], labels: np.ndarray, names: Sequence[str]) -> None:
        super().__init__(Members(members), labels, names)
        self.members = members

    def fingerprint(self) -> str:
        """Of the archives, and of which images in them these are."""
        archives = sorted({member.archive for member in self.members})
        digest = hashlib.sha256(identity(archives).encode())
        for member in self.members:
            digest.update(f"{member.name} {member.start}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def open_archive(task: Task, path: Path) -> Opened:
    """The splits in a zip or tar file.

    Raises:
        UserError: when it is none, or holds neither class folders nor samples of WebDataset.
    """
    members, strange = _members(path)
    if path.suffix.lower() == ".tar" and _is_webdataset(members):
        return _webdataset(task, {"train": members}, strange)
    return _class_folders(task, path, members, strange)


def shards_in(folder: Path) -> dict[str, list[Path]]:
    """Shards of WebDataset in a folder by split, as their names or those of the folders right in it say."""
    shards: dict[str, list[Path]] = {}
    inside = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    deeper = [
        entry for below in inside if below.is_dir() and (split_of(below.name) or below.name == "data")
        for entry in sorted(below.iterdir()) if not entry.name.startswith(".")
    ]  # fmt: skip
    for entry in (*inside, *deeper):
        if entry.suffix.lower() == ".tar" and entry.is_file():
            words = re.split(r"[\W_\d]+", entry.stem)
            split = next(filter(None, map(split_of, words)), None) or split_of(entry.parent.name) or "train"
            shards.setdefault(split, []).append(entry)
    return shards


def open_shards(task: Task, shards: dict[str, list[Path]]) -> Opened:
    """The splits of a folder of shards.

    Raises:
        UserError: when one is no tar file, or has no samples of WebDataset.
    """
    members: dict[str, list[Member]] = {}
    strange: list[str] = []
    for split, paths in shards.items():
        for path in paths:
            found, odd = _members(path)
            members.setdefault(split, []).extend(found)
            strange += odd
    return _webdataset(task, members, strange)


def _members(path: Path) -> tuple[list[Member], list[str]]:
    """Files in an archive, by name, and why others are none."""
    try:
        found, strange = _zipped(path) if path.suffix.lower() == ".zip" else _tarred(path)
    except tarfile.ReadError as error:
        if path.suffix.lower() == ".tar" and _is_compressed(path):
            raise UserError(f"{shorten(path.name, 100)} is compressed. {_unpack(path)}") from error
        raise UserError(f"{shorten(path.name, 100)} could not be read: {shorten(str(error), 200)}.") from error
    except UserError:
        raise
    # Damaged archives raise anything, from OSError to IndexError and struct.error.
    except Exception as error:
        raise UserError(f"{shorten(path.name, 100)} could not be read: {shorten(str(error), 200)}.") from error
    kept = []
    for member in found:
        if _is_dropping(member.name):
            strange.append("left by the system")
        elif member.name.startswith("/") or ".." in member.name.split("/"):
            strange.append("a name that leads out of the archive")
        elif member.name.count("/") > DEEPEST:
            strange.append(f"deeper than {DEEPEST} folders")
        else:
            kept.append(member)
    return kept, strange


def _zipped(path: Path) -> tuple[list[Member], list[str]]:
    members, strange = [], []
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename[-1:] in ("", "/"):
                continue
            if info.flag_bits & 1:
                raise UserError(f"{shorten(path.name, 100)} asks for a password. {_unpack(path)}")
            if info.compress_type not in (STORED, DEFLATED):
                name = shorten(path.name, 100)
                raise UserError(f"{name} is packed in a way that is not read in place. {_unpack(path)}")
            if info.external_attr >> 28 == 0xA:
                strange.append("a link in an archive")
                continue
            members.append(
                Member(path, info.filename.replace("\\", "/"), info.header_offset, info.compress_size, info.file_size,
                       info.compress_type, info.CRC)
            )  # fmt: skip
    return members, strange


def _tarred(path: Path) -> tuple[list[Member], list[str]]:
    members, strange = [], []
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            if info.isfile() and not info.issparse():
                members.append(Member(path, info.name, info.offset_data, info.size, info.size))
            elif not info.isdir():
                strange.append("a link in an archive" if info.islnk() or info.issym() else "no plain file")
            archive.members = []  # type: ignore[attr-defined]  # else it keeps them all
    return members, strange


def _is_compressed(path: Path) -> bool:
    """Whether a file begins as gzip, bzip2, xz and Zstandard do."""
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))


def _is_dropping(name: str) -> bool:
    return any(is_dropping(part) or (part.startswith(".") and part.strip(".")) for part in name.split("/"))


def _unpack(path: Path) -> str:
    """What to do with an archive that is not read in place."""
    quoted, folder = shlex.quote(path.name), shlex.quote(path.stem)
    line = f"unzip {quoted} -d {folder}" if path.suffix.lower() == ".zip" else f"tar -xf {quoted} -C {folder}"
    before = "" if path.suffix.lower() == ".zip" else f"mkdir {folder} && "
    return f"Unpack it, `{before}{line}`, and name the folder."


def _class_folders(task: Task, path: Path, members: list[Member], strange: list[str]) -> Opened:
    """The images of an archive, whose classes are the folders that they lie in, by the rules for folders."""
    name = shorten(path.name, 100)
    members = [member.looked_into() for member in members]
    others = [f"no image: {member.ending[:12] or 'no ending'}" for member in members if not member.is_image]
    if not any(member.is_image for member in members):
        raise UserError(f"{name} holds no images that nfft reads. Expected one folder a class in it. {_unpack(path)}")
    root, by_path = _tree(path.name, members)
    # A folder around everything is part of no class's name.
    while len(root.folders) == 1 and not root.pictures and any(inside.folders for inside in root.folders):
        root = root.folders[0]
    if root.pictures:
        raise UserError(
            f"{name} holds {shorten(root.pictures[0], 100)}: expected the images of a class right in its folder, as in "
            f"ant/1.jpg or train/ant/1.jpg. {_unpack(path)}"
        )
    layout = layout_of(root, task)
    splits = {
        split: sorted((picture for top in tops for picture in top.picture_paths()), key=_parts)
        for split, tops in layout.splits.items()
    }
    classes = sorted({_parts(picture)[-2] for pictures in splits.values() for picture in pictures})
    places = {label: place for place, label in enumerate(classes)}
    tables: dict[str, Any] = {
        split: ArchiveTable(
            [by_path[picture] for picture in pictures],
            np.array([places[_parts(picture)[-2]] for picture in pictures], np.int64),
            classes,
        )
        for split, pictures in splits.items()
        if pictures
    }
    return Opened(tables, layout.account + Account(counted("file", [*others, *strange])))


def _parts(path: str) -> list[str]:
    """The parts of a path in an archive."""
    return path.split(os.sep)  # noqa: PTH206


def _tree(name: str, members: list[Member]) -> tuple[Folder, dict[str, Member]]:
    """Folders of an archive and the images in them, and each image by its path there."""
    by_path: dict[str, Member] = {}
    pictures: dict[tuple[str, ...], list[str]] = {(): []}
    for member in members:
        *folders, last = (part for part in member.name.split("/") if part not in ("", "."))
        for depth in range(1, len(folders) + 1):
            pictures.setdefault(tuple(folders[:depth]), [])
        if member.is_image:
            pictures[tuple(folders)].append(last)
            by_path[os.path.join(name, *folders, last)] = member  # noqa: PTH118
    inside: dict[tuple[str, ...], list[Folder]] = {}
    for parts in sorted(pictures, key=len, reverse=True):
        below = tuple(sorted(inside.get(parts, []), key=lambda folder: folder.path))
        path = os.path.join(name, *parts)  # noqa: PTH118
        folder = Folder(path, tuple(sorted(set(pictures[parts]))), (), below, ())
        inside.setdefault(parts[:-1] if parts else ("",), []).append(folder)
    return inside["",][0], by_path


def _is_webdataset(members: list[Member]) -> bool:
    """Whether images have files of the same name that say what they are."""
    images = {_key(member.name)[0] for member in members if member.is_image}
    return any(_key(member.name)[0] in images for member in members if not member.is_image)


def _key(name: str) -> tuple[str, str]:
    """The name of a sample, and which of its files this is: "000/17" and "cls"."""
    folder, slash, last = name.rpartition("/")
    stem, _, field = last.partition(".")
    return folder + slash + stem, field.lower()


def _webdataset(task: Task, splits: dict[str, list[Member]], strange: list[str]) -> Opened:
    """Samples by split: an image each, and a file of its label."""
    images: dict[str, list[Member]] = {}
    texts: dict[str, list[str]] = {}
    unused: list[str] = []
    for split, members in splits.items():
        for files in _samples(members):
            image = _image_of(task, files)
            if image is None:
                unused.append("a sample without an image")
            elif (label := _label_of(task, files)) is None:
                unused.append("a sample without a label")
            else:
                images.setdefault(split, []).append(image)
                texts.setdefault(split, []).append(label)
    if not images:
        first = next(filter(None, splits.values()), [])
        fields = ", ".join(sorted({_key(member.name)[1] for member in first[:50]})[:10])
        raise UserError(
            f"task {task.name}: no samples of an image and a label in its archives; their files end in {fields}. "
            "Expected such as 1.jpg with 1.cls; name what holds the label with --set task.label=..."
        )
    classes = in_order({text for found in texts.values() for text in found})
    places = {text: place for place, text in enumerate(classes)}
    tables: dict[str, Any] = {
        split: ArchiveTable(found, np.array([places[text] for text in texts[split]]), classes)
        for split, found in images.items()
    }
    others = tuple(Unused("file", reason, strange.count(reason)) for reason in dict.fromkeys(strange))
    return Opened(tables, Account((*counted("sample", unused), *others)))


def _samples(members: list[Member]) -> Iterator[dict[str, Member]]:
    """Files that follow one another under one name."""
    files: dict[str, Member] = {}
    last: tuple[Path, str] | None = None
    for member in members:
        key, field = _key(member.name)
        if last != (member.archive, key):
            if files:
                yield files
            files, last = {}, (member.archive, key)
        files[field] = member
    if files:
        yield files


def _image_of(task: Task, files: dict[str, Member]) -> Member | None:
    if task.image in files:
        return files[task.image]
    return next((member for member in files.values() if member.is_image), None)


def _label_of(task: Task, files: dict[str, Member]) -> str | None:
    """The label of a sample: a file that the task names, or one such as .cls; else an entry of its .json."""
    named = [task.label] if task.label is not None else [*LABEL_NAMES, *MORE_LABEL_NAMES]
    try:
        for field in named:
            if field in files and not files[field].is_image:
                return files[field].read().decode("utf-8", "replace").strip() or None
        entries = decode_json(files["json"].read()) if "json" in files else {}
    except (ValueError, UnreadableImage):
        return None
    values = [entries.get(field) for field in named] if isinstance(entries, dict) else []
    value = next((value for value in values if isinstance(value, str | int)), None)
    return None if value is None else str(value).strip() or None
