"""A Hub on loopback, for the real `huggingface_hub`, `timm`, `datasets` and `transformers` clients.

with HubServer() as hub:
    hub.add("user/net", folder)
    hub.add("datasets/user/photos", other, private=True)
    hub.fail(503, times=2, matching="POST .*/commit/")
    subprocess.run(..., env=hub.environment(token=WRITER))
    assert hub.files("user/net")["config.json"] == ...

Repositories go by their address on the Hub. Which requests go wrong is said by a regular expression that is searched
for in "METHOD /path", as `hub.requests` keeps them.
"""

import contextlib
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path

from hub_protocol import Handler
from hub_repository import Commit, Repository


@dataclass(frozen=True)
class User:
    """Whom a token speaks for, and the namespaces whose repositories are theirs."""

    name: str
    may_write: bool
    namespaces: tuple[str, ...]

    def owns(self, address: str) -> bool:
        return address.removeprefix("datasets/").split("/")[0] in self.namespaces


WRITER, READER, STRANGER = "hf_writer", "hf_reader", "hf_stranger"
USERS = {
    WRITER: User("user", True, namespaces=("user", "team")),
    READER: User("user", False, namespaces=("user", "team")),
    STRANGER: User("stranger", True, namespaces=("stranger",)),
}

# Python runs this when it starts: clients take no time between their retries.
IMPATIENT = """
import time

_sleep = time.sleep
time.sleep = lambda seconds: _sleep(min(seconds, 0.01))
"""


@dataclass
class Fault:
    """What happens to the next `times` requests that match; each is made by a method of `HubServer`."""

    matching: str = ""
    times: float = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    cut_upload: int | None = None
    cut_download: int | None = None
    is_reset: bool = False
    is_corrupt: bool = False
    lose: int = 0
    content: bytes | None = None
    is_silent: bool = False


@dataclass
class Shelf:
    """`hub.models["user/net"] = folder` is `hub.add("user/net", folder)`."""

    hub: "HubServer"
    prefix: str

    def __setitem__(self, name: str, folder: Path) -> None:
        self.hub.add(self.prefix + name, folder)


class HubServer:
    """Serves repositories while it is entered.

    Attributes:
        endpoint: where it listens, also after `stop` and `start`.
        requests: "METHOD /path" of everything that was asked for, in order.
        uploads: path and bytes of each file that had to be sent for a commit; not of large files that were there.
        repositories: by address; `add`, `files` and `commits` are what tests need.
        users: by token.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.uploads: list[tuple[str, int]] = []
        self.repositories: dict[str, Repository] = {}
        self.users = dict(USERS)
        self.models, self.datasets = Shelf(self, ""), Shelf(self, "datasets/")
        self.lock = threading.Lock()
        self._faults: list[Fault] = []
        self._folder = Path(tempfile.mkdtemp(prefix="hub-"))
        (self._folder / "sitecustomize.py").write_text(IMPATIENT)
        self._listen(port=0)

    def _listen(self, port: int) -> None:
        self._http = _Connections(("127.0.0.1", port), type("HubHandler", (Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}"

    def _serve(self) -> None:
        # It looks that often whether it shall stop, and a test waits for it.
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> "HubServer":
        self._serve()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def stop(self) -> None:
        """Be down: connections are closed, and refused from now on."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._http.server_close()
            self._http.hang_up()
            self._thread.join()

    def start(self) -> None:
        """Be up again."""
        self._listen(self._http.server_port)
        self._serve()

    def environment(self, token: str = "", *, waits: bool = False) -> dict[str, str]:
        """The variables of a process that knows no Hub but this one, with empty caches of its own.

        Args:
            token: whom it speaks for, of `users`.
            waits: whether the client's pauses between retries take their time.
        """
        caches = tempfile.mkdtemp(dir=self._folder)
        own = {name: value for name, value in os.environ.items() if not re.match("HF_|HUGGING|TRANSFORMERS_", name)}
        own |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": caches, "XDG_CACHE_HOME": caches, "no_proxy": "127.0.0.1"}
        own |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
        if token:
            own["HF_TOKEN"] = token
        if not waits:
            own["PYTHONPATH"] = os.pathsep.join(filter(None, [str(self._folder), own.get("PYTHONPATH")]))
        return own

    def add(self, address: str, folder: Path | None = None, *, private: bool = False) -> Repository:
        """Make a repository of a folder's files as they are now, or an empty one."""
        self.repositories[address] = Repository(folder, private=private)
        return self.repositories[address]

    def files(self, address: str, revision: str = "main") -> dict[str, bytes]:
        """What a repository holds at a branch, a commit or a pull request ("refs/pr/1")."""
        newest, *_ = self.commits(address, revision)
        return {path: file.content for path, file in newest.files.items()}

    def commits(self, address: str, revision: str = "main") -> list[Commit]:
        """The history of a repository, newest first; none where there is no such revision."""
        history, commit = [], self.repositories[address].at(revision)
        while commit:
            history.append(commit)
            commit = commit.parent
        return history

    def fail(
        self,
        status: int,
        *,
        times: float = 1,
        matching: str = "",
        code: str = "",
        message: str = "",
        retry_after: int | None = None,
    ) -> None:
        """Answer with an error.

        Args:
            times: how often, as for every fault; math.inf is ever.
            matching: to which requests, as for every fault.
            code: the Hub's name for it: RepoNotFound, EntryNotFound, RevisionNotFound, GatedRepo.
            message: what the Hub says about it.
            retry_after: seconds that the client is asked to wait.
        """
        headers = {"X-Error-Code": code} if code else {}
        headers |= {} if retry_after is None else {"Retry-After": str(retry_after)}
        self._faults.append(Fault(matching, times, status=status, headers=headers, message=message))

    def cut_upload(self, *, after: int, times: float = 1, matching: str = "PUT ") -> None:
        """Hang up when `after` bytes of what a request brings have come."""
        self._faults.append(Fault(matching, times, cut_upload=after))

    def cut_download(
        self, *, after: int, times: float = 1, matching: str = "GET .*/resolve/", is_reset: bool = False
    ) -> None:
        """Hang up when `after` bytes of a file are sent; with `is_reset` the client reads "reset by peer"."""
        self._faults.append(Fault(matching, times, cut_download=after, is_reset=is_reset))

    def corrupt(self, *, lose: int = 0, times: float = 1, matching: str = "GET .*/resolve/") -> None:
        """Send a file with its last bytes changed, or rather without the `lose` last ones."""
        self._faults.append(Fault(matching, times, is_corrupt=not lose, lose=lose))

    def answer(self, content: bytes, *, times: float = 1, matching: str = "") -> None:
        """Do what is asked, and send this instead of what there is to say of it."""
        self._faults.append(Fault(matching, times, content=content))

    def be_silent(self, *, times: float = 1, matching: str = "") -> None:
        """Keep the connection and say nothing, until the client leaves."""
        self._faults.append(Fault(matching, times, is_silent=True))

    def mend(self) -> None:
        """Let nothing go wrong from now on."""
        self._faults.clear()

    def record(self, request: str) -> Fault:
        """Keep a request, and choose what happens to it."""
        with self.lock:
            self.requests.append(request)
            for fault in self._faults:
                if fault.times > 0 and re.search(fault.matching, request):
                    fault.times -= 1
                    return fault
        return Fault()


class _Connections(ThreadingHTTPServer):
    """Knows its connections, to close those that clients keep open."""

    def __init__(self, *arguments: object) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: socket.socket, client_address: tuple[str, int]) -> None:
        # A client may leave whenever it likes.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
