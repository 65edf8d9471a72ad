"""Files written whole: under another name first, so that a reader or a crash never meets half of one."""

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nfft.errors import UserError

try:
    import fcntl
except ImportError:  # only Unix has it
    fcntl = None  # type: ignore[assignment]

# Errors of the system when a file cannot be written: the user's to mend, not a bug.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def cache_folder(name: str) -> Path:
    """The user's folder for one kind of what can be computed again."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "nfft" / name


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


def read_lines(path: Path) -> list[Any]:
    """The values in a .jsonl file, one a line."""
    # Not splitlines: names may hold what that takes for the end of a line, too.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def fingerprint_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole, then give it its name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole, then give the file its name."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write `content` indented, with each list of numbers on one line."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    # No string of JSON's has a line break in it.
    text = re.sub(r"\[\n\s*((?:-?\d+,\n\s*)*-?\d+)\n\s*\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    write_text(path, text + "\n")


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock, a file, that no two processes have at once; a process that ends gives back what it holds.

    Yields:
        Whether it is held: not where another process has it. Systems and file systems without locks let all pass.
    """
    if fcntl is None:
        yield True
        return
    with path.open("w") as lock:
        try:
            # Not flock: loader processes, which outlive a run that is killed by a moment, would have it too.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError:
            pass  # some network file systems have no locks
        yield True
