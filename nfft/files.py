"""Files written whole: under another name first, and on the disk before they get their own.

So no reader meets half of a file, and neither does whoever comes back after a crash or a power failure.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from nfft.errors import UserError

try:
    import fcntl
except ImportError:  # only Unix has it
    fcntl = None  # type: ignore[assignment]

# A file system that cannot force a file or a folder to the disk says one of these.
WITHOUT_SYNC = (errno.EINVAL, errno.ENOTSUP)
# Errors of the system when a file cannot be written: the user's to mend, not a bug.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)

READING = os.O_RDONLY | getattr(os, "O_BINARY", 0)  # only Windows has two ways


def cache_folder(name: str) -> Path:
    """The user's folder for one kind of what can be computed again.

    Raises:
        UserError: when it begins with the home of someone who is not known here.
    """
    folder = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    try:
        return Path(folder).expanduser() / "nfft" / name
    except RuntimeError as error:
        raise UserError(
            f"the folder of caches, {folder}, is in a home that is not known here. Set XDG_CACHE_HOME to another."
        ) from error


def expanded(path: str) -> Path:
    """A path as a user writes it, which may begin with ~.

    Raises:
        UserError: for the home of someone who is not known here.
    """
    try:
        # A folder here may be called ~, too: ./~ is that.
        return Path(path).expanduser() if path.startswith("~") else Path(path)
    except RuntimeError as error:
        raise UserError(f"{path}: there is no such home folder. Write the path in full.") from error


def is_path(name: str) -> bool:
    """Whether a name can only be a path: no entry of a catalog, and no user/name on the Hub."""
    return name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1


def read_json(path: Path) -> Any:
    """The value in a file of JSON.

    Raises:
        ValueError: when there is none in it, or one that no record is like; OSError when it cannot be read.
    """
    return decode_json(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[Any]:
    """The values in a .jsonl file, one a line; it raises what `read_json` does."""
    # Not splitlines: names may hold what that takes for the end of a line, too.
    return [decode_json(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def decode_json(text: str | bytes) -> Any:
    """The value that is written in JSON.

    Raises:
        ValueError: when it is none, or its lists lie in each other deeper than Python follows them.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def fingerprint_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def part_of(path: str, count: int, start: int = 0) -> bytes:
    """Up to `count` bytes of a file: faster than through a file object, where there may be a million files."""
    file = os.open(path, READING)
    try:
        if start:
            os.lseek(file, start, os.SEEK_SET)
        content = os.read(file, count)
        while len(content) < count and (more := os.read(file, count - len(content))):
            content += more
        return content
    finally:
        os.close(file)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Every file that is to last is written so: under another name, to the disk, and only then under its own.

    For whoever holds the folder: what is written by a name alone is told from what was left behind by nothing else.

    Yields:
        The name to write to meanwhile, in the same folder.
    """
    with scratch(path) as temporary:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, that `finished_name` knows again; what is there in the end is deleted."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk; nothing happens where the file system knows no such thing.

    Raises:
        OSError: naming the file, when the disk does not take it.
    """
    if fcntl is None:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _force(descriptor, path)
    finally:
        os.close(descriptor)


def _force(descriptor: int, path: Path) -> None:
    """Force to the disk what is open."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in WITHOUT_SYNC:
            raise OSError(error.errno, error.strerror, str(path)) from error


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it, where they are missing, so that they last; returns the new ones, top first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)
    return missing


@contextmanager
def new_folder(target: Path, option: str) -> Iterator[Path]:
    """Make a folder whole: inside, its files are written under another name beside it, which it then loses.

    What was killed in between is only to be repeated.

    Args:
        target: where there is nothing yet, or an empty folder.
        option: by which it was named.

    Yields:
        The folder to write into.

    Raises:
        UserError: when there is something already, or another process is writing it.
    """
    check_new_folder(target, option)
    target = target.resolve()
    make_folder(target.parent)
    unfinished = target.with_name(f".{target.name}.merging")
    with locked(unfinished.with_name(f"{unfinished.name}.lock")) as mine:
        if not mine:
            raise UserError(f"another process is writing {target}. Wait for it, or stop it.")
        shutil.rmtree(unfinished, ignore_errors=True)
        make_folder(unfinished)
        yield unfinished
        unfinished.replace(target)
        sync(target.parent)


def check_new_folder(target: Path, option: str) -> None:
    """See that a folder can be made at `target`, before the work whose outcome it is to hold.

    Raises:
        UserError: saying what is in the way.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UserError(f"{option}{target} is there already. Choose another folder.")
    check_writable(target / "config.json", option.strip() or "the folder")


def remove_unfinished(folder: Path, is_ours: Callable[[str], bool]) -> None:
    """Delete what processes were writing in a folder when they were killed; what one is at with `write_bytes` stays.

    In a folder where `writing` is used, only for whoever holds it.

    Args:
        is_ours: whether a file of that name is written there.
    """
    for path in folder.iterdir() if folder.is_dir() else []:
        if (name := finished_name(path.name)) is not None and is_ours(name):
            # What is no file, which a lock would wait for, or follow, none of us has written.
            is_file = path.is_file() and not path.is_symlink()
            with suppress(OSError), locked(path) if is_file else nullcontext(True) as mine:
                if mine:
                    path.unlink(missing_ok=True)


def finished_name(name: str) -> str | None:
    """The name that `writing` would have given to the file that it calls `name` meanwhile; None for any other."""
    match = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}", name)
    return match[1] if match else None


def check_writable(path: Path, option: str) -> None:
    """See that a file can be written at `path`, before the work whose outcome it is to hold.

    Args:
        option: by which it was named.

    Raises:
        UserError: saying what is in the way.
    """
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder. Name a file.")
    standing = next(parent for parent in path.absolute().parents if parent.exists())
    # By doing it: rights, read-only disks and names that are too long show in no other way.
    try:
        with scratch(path) if standing == path.absolute().parent else scratch(standing / "nfft") as temporary:
            temporary.touch(exist_ok=False)
    except OSError as error:
        raise UserError(
            f"{option} {path} cannot be written: {standing}: {error.strerror}. Choose another place."
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole, then give it its name; until then it is held, and nobody takes it for one left behind."""
    write_with(path, lambda file: file.write(content))


def write_with(path: Path, write: Callable[[BinaryIO], Any], *, is_to_last: bool = True) -> None:
    """The same by a function, which may be called again.

    Args:
        is_to_last: False for what can be made again: nothing waits then for the disk to have it.
    """
    while not _write_held(path, write, is_to_last):
        pass  # someone who cleans there came between


def _write_held(path: Path, write: Callable[[BinaryIO], Any], is_to_last: bool) -> bool:
    with scratch(path) as temporary, locked(temporary) as mine:
        if not mine:
            return False
        # Open until it has its name: a lock goes with the first closing of its file.
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            if fcntl is None:
                file.close()  # Windows gives no name to what is open
            elif is_to_last:
                _force(file.fileno(), temporary)
            try:
                temporary.replace(path)
            except FileNotFoundError:
                return False  # so it was, on a file system without locks
        if is_to_last:
            sync(path.parent)
    return True


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole, then give the file its name."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` indented, with each list of numbers on one line."""
    text = _indented(content)
    # No string of JSON's has a line break in it.
    text = re.sub(r"\[\n\s*((?:-?\d+,\n\s*)*-?\d+)\n\s*\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    write_text(path, text + "\n")


def _indented(content: Any) -> str:
    """JSON as `json.dumps` indents it, which is slow where there are 100,000 classes: it does so in Python."""
    text = json.dumps(content, ensure_ascii=False)
    try:
        return msgspec.json.format(text.encode("utf-8", "surrogatepass"), indent=2).decode("utf-8", "surrogatepass")
    except msgspec.DecodeError:  # NaN and infinity are no JSON to others
        return json.dumps(content, indent=2, ensure_ascii=False)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock, a file, that no two have at once; a process that ends gives back what it holds.

    Yields:
        Whether it is held: not where someone else has it. Systems and file systems without locks let all pass.
    """
    if fcntl is None:
        yield True
        return
    lock = _lock(path)
    if lock is None:
        yield False
        return
    key = _identity(lock)
    _mine.add(key)
    try:
        yield True
    finally:
        # Before it is given back, so that nobody can have locked the file that loses its name.
        path.unlink(missing_ok=True)
        _mine.discard(key)
        lock.close()


def is_locked(path: Path) -> bool:
    """Whether someone holds the lock; nothing is left where nobody does."""
    if not path.exists():
        return False
    with locked(path) as mine:
        return not mine


# Locks of this process, which the system would give it a second time, and take away with the first file that it closes.
_mine: set[tuple[int, int]] = set()


def _lock(path: Path) -> BinaryIO | None:
    """The file at `path`, locked; None where someone else has it."""
    while True:
        with suppress(FileNotFoundError):
            status = path.stat()
            if (status.st_dev, status.st_ino) in _mine:
                return None
        lock = path.open("ab")  # which leaves what another may be writing there
        try:
            # Not flock: loader processes, which outlive a run that is killed by a moment, would have it too.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            lock.close()
            return None
        except OSError:
            return lock  # some network file systems have no locks
        # Whoever had it may have deleted the file between its opening here and its locking: then it guards nothing.
        with suppress(FileNotFoundError):
            status = path.stat()
            if (status.st_dev, status.st_ino) == _identity(lock):
                return lock
        lock.close()


def _identity(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino
