"""What the Hub of `hub_server` keeps: repositories of commits of files, in memory."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# What the Hub keeps in large-file storage (LFS): files with these names, and whatever else is large.
LARGE_NAMES = (".arrow", ".bin", ".ckpt", ".npy", ".npz", ".onnx", ".parquet", ".pt", ".pth", ".safetensors", ".zip")
LARGE_BYTES = 10 * 2**20
# What a repository that is created on the Hub begins with.
GITATTRIBUTES = "".join(f"*{name} filter=lfs diff=lfs merge=lfs -text\n" for name in LARGE_NAMES).encode()


def is_large(path: str, size: int) -> bool:
    return size >= LARGE_BYTES or (size > 0 and path.endswith(LARGE_NAMES))


@dataclass(frozen=True)
class File:
    content: bytes
    is_large: bool

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git holds in place of a large file."""
        head = "version https://git-lfs.github.com/spec/v1"
        return f"{head}\noid sha256:{self.sha256}\nsize {len(self.content)}\n".encode()

    @cached_property
    def blob(self) -> str:
        """git's id of what it holds."""
        held = self.pointer if self.is_large else self.content
        return hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest()

    @property
    def oid(self) -> str:
        """The ETag of the file, by which a client also sees that it need not upload it."""
        return self.sha256 if self.is_large else self.blob


@dataclass(frozen=True)
class Commit:
    message: str
    files: Mapping[str, File]
    parent: "Commit | None" = None

    @cached_property
    def oid(self) -> str:
        lines = [self.parent.oid if self.parent else "", self.message]
        lines += [f"{path} {file.blob}" for path, file in sorted(self.files.items())]
        return hashlib.sha1("\n".join(lines).encode()).hexdigest()

    def entries(self, below: str = "", *, is_deep: bool) -> list[dict[str, Any]]:
        """The listing of a folder ("" is the repository), with `is_deep` of the folders in it too."""
        top = f"{below}/" if below else ""
        by_path: dict[str, dict[str, Any]] = {}
        for path, file in sorted(self.files.items()):
            if not path.startswith(top):
                continue
            ends = [end for end, letter in enumerate(path) if letter == "/" and end >= len(top)]
            for end in ends if is_deep else ends[:1]:
                oid = hashlib.sha1(path[:end].encode()).hexdigest()
                by_path[path[:end]] = {"type": "directory", "path": path[:end], "size": 0, "oid": oid}
            if is_deep or not ends:
                by_path[path] = {"type": "file", "path": path, "size": len(file.content), "oid": file.blob}
            if file.is_large and path in by_path:
                by_path[path]["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}
        return list(by_path.values())


@dataclass
class Proposal:
    """A pull request, whose commits are on the branch refs/pr/N."""

    number: int
    title: str
    author: str
    status: str = "open"

    @property
    def branch(self) -> str:
        return f"refs/pr/{self.number}"


class Repository:
    """Commits on branches; a pull request is a branch called refs/pr/N.

    Args:
        folder: what the first commit holds; what the Hub puts into a new repository by default.

    Attributes:
        branches: the newest commit of each.
        commits: every commit by its id.
        stored: what large-file storage holds by SHA-256, whether or not a commit refers to it yet.
        proposals: pull requests, oldest first.
    """

    def __init__(self, folder: Path | None = None, *, private: bool = False) -> None:
        self.private = private
        self.branches: dict[str, Commit] = {}
        self.commits: dict[str, Commit] = {}
        self.stored: dict[str, bytes] = {}
        self.proposals: list[Proposal] = []
        contents = {".gitattributes": GITATTRIBUTES}
        if folder is not None:
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
        first = {path: File(content, is_large(path, len(content))) for path, content in contents.items()}
        self.commit("main", Commit("initial commit", first))

    def commit(self, branch: str, commit: Commit) -> None:
        self.branches[branch] = self.commits[commit.oid] = commit
        self.stored |= {file.sha256: file.content for file in commit.files.values() if file.is_large}

    def at(self, revision: str) -> Commit | None:
        """What a branch or a commit id stands for."""
        return self.branches.get(revision) or self.commits.get(revision)

    def holds(self, oid: str) -> bool:
        """Whether any commit has a file of that content."""
        return any(file.oid == oid for commit in self.commits.values() for file in commit.files.values())
