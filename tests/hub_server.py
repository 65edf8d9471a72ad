"""A Hub on loopback: folders served as repositories to the real `huggingface_hub` and `datasets` clients.

with HubServer() as hub:
    hub.models["user/net"] = folder
    subprocess.run(..., env={**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1"})
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

REPOSITORY = r"(?P<name>[^/]+/[^/]+)"
INFO = re.compile(rf"/api/(?P<kind>models|datasets)/{REPOSITORY}(/revision/(?P<revision>[^/]+))?")
TREE = re.compile(rf"/api/(?P<kind>models|datasets)/{REPOSITORY}/tree/(?P<revision>[^/]+)(/(?P<path>.*))?")
FILE = re.compile(rf"/(?P<kind>datasets/)?{REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


class HubServer:
    """Serves folders as repositories while it is entered.

    Attributes:
        models, datasets: repository id to folder; may change while serving.
        requests: "METHOD /path" of everything that was asked for, in order.
    """

    def __init__(self) -> None:
        self.models: dict[str, Path] = {}
        self.datasets: dict[str, Path] = {}
        self.requests: list[str] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (_Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self) -> "HubServer":
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


class _Missing(Exception):
    """What is asked for is not there; the text is the Hub's error code."""


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    # Clients reuse their connections.
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({INFO: self._info, TREE: self._tree, FILE: self._file})

    do_HEAD = do_GET

    def _answer(self, routes: dict[re.Pattern, Callable[[dict[str, str]], None]]) -> None:
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{self.command} {unquote(path)}")
        try:
            for pattern, route in routes.items():
                if match := pattern.fullmatch(path):
                    return route({key: value and unquote(value) for key, value in match.groupdict().items()})
            raise _Missing("EntryNotFound")
        except _Missing as missing:
            self._send(b"", status=404, headers={"X-Error-Code": str(missing)})

    def _info(self, asked: dict[str, str]) -> None:
        folder = self._folder(asked)
        files = [{"rfilename": name} for name in _files(folder)]
        self._send_json({"id": asked["name"], "sha": _commit(folder), "private": False, "tags": [], "siblings": files})

    def _tree(self, asked: dict[str, str]) -> None:
        folder, below = self._folder(asked), asked["path"] or ""
        entries = [
            {"type": "file", "path": name, "size": path.stat().st_size, "oid": _hash(path)}
            for name, path in _files(folder).items()
            if name.startswith(below)
        ]
        folders = {str(parent) for each in entries for parent in Path(each["path"]).parents} - {"."}
        if below and below not in folders:
            raise _Missing("EntryNotFound")
        self._send_json(entries + [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders])

    def _file(self, asked: dict[str, str]) -> None:
        folder = self._folder(asked)
        path = _files(folder).get(asked["path"])
        if path is None:
            raise _Missing("EntryNotFound")
        self._send(path.read_bytes(), headers={"X-Repo-Commit": _commit(folder), "ETag": f'"{_hash(path)}"'})

    def _folder(self, asked: dict[str, str]) -> Path:
        is_dataset = (asked["kind"] or "").startswith("datasets")
        folder = (self.hub.datasets if is_dataset else self.hub.models).get(asked["name"])
        if folder is None:
            raise _Missing("RepoNotFound")
        if asked["revision"] not in (None, "main", _commit(folder)):
            raise _Missing("RevisionNotFound")
        return folder

    def _send_json(self, content: Any) -> None:
        self._send(json.dumps(content).encode(), headers={"Content-Type": "application/json"})

    def _send(self, body: bytes, *, status: int = 200, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Requests are kept by the server instead of being printed."""


def _files(folder: Path) -> dict[str, Path]:
    """Every file below `folder` by its name in the repository."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _hash(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def _commit(folder: Path) -> str:
    """A commit id that changes when a file does."""
    listing = "".join(f"{name} {_hash(path)}\n" for name, path in _files(folder).items())
    return hashlib.sha1(listing.encode()).hexdigest()
