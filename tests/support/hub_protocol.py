"""The Hub's protocol: what each request of its clients means to the repositories of a `HubServer`."""

import base64
import hashlib
import json
import re
import socket
import struct
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from hub_repository import Commit, File, Proposal, Repository, is_large

if TYPE_CHECKING:
    from hub_server import HubServer, User

NAME, REVISION = "[^/]+/[^/]+", "(?P<revision>[^/]+)"
ADDRESS = f"(?P<address>(datasets/)?{NAME})"
API = f"/api/(models/)?{ADDRESS}"
# Which method of the handler answers what; HEAD is answered as GET.
ROUTES = {
    "GET /api/whoami-v2": "whoami",
    "POST /api/validate-yaml": "validate_card",
    "POST /api/repos/create": "create",
    f"POST {API}/branch/{REVISION}": "branch",
    f"GET {API}(/revision/{REVISION})?": "info",
    f"GET {API}/tree/{REVISION}(/(?P<path>.+))?": "tree",
    f"POST {API}/paths-info/{REVISION}": "paths_info",
    f"GET /{ADDRESS}/resolve/{REVISION}/(?P<path>.+)": "resolve",
    f"POST {API}/preupload/{REVISION}": "preupload",
    rf"POST /{ADDRESS}\.git/info/lfs/objects/batch": "batch",
    f"PUT /lfs/{ADDRESS}/(?P<oid>[0-9a-f]+)": "store",
    f"POST /lfs/{ADDRESS}/(?P<oid>[0-9a-f]+)/verify": "verify",
    f"POST {API}/commit/{REVISION}": "commit",
    f"GET {API}/discussions": "discussions",
}

# Discussions on a page of their list.
PAGE = 10
SIGN_IN = "Invalid username or password."


@dataclass(frozen=True)
class Answer:
    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """An answer that is an error.

    Args:
        code: the Hub's name for it, by which the client chooses its exception.
        message: what the Hub says about it, which the client repeats.
    """

    def __init__(self, status: int, code: str = "", message: str = "", headers: dict[str, str] | None = None) -> None:
        said = {"error": message, "errors": [{"message": message}]} if message else {}
        named = {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})}
        headers = {name: value for name, value in named.items() if value}
        self.answer = Answer(json.dumps(said).encode(), status, headers)


class Handler(BaseHTTPRequestHandler):
    hub: "HubServer"
    # Clients keep their connections, and would wait 40 ms for the second packet of an answer.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self.fault = self.hub.record(f"{self.command} {unquote(url.path)}")
        length = int(self.headers.get("Content-Length", 0))
        if self.fault.cut_upload is not None:
            self.rfile.read(min(self.fault.cut_upload, length))
            self.close_connection = True
            return
        self.body = self.rfile.read(length)
        if self.fault.is_silent:
            self.rfile.read(1)  # returns when the client has left
            self.close_connection = True
            return
        try:
            if self.fault.status:
                raise Refused(self.fault.status, message=self.fault.message, headers=self.fault.headers)
            with self.hub.lock:
                answer = self._answer(f"{self.command.replace('HEAD', 'GET')} {url.path}")
        except Refused as refused:
            answer = refused.answer
        self._send(answer)

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *_: object) -> None:
        """The server keeps requests; they are not printed."""

    def _answer(self, request: str) -> Answer:
        for pattern, method in ROUTES.items():
            if match := re.fullmatch(pattern, request):
                asked = {name: unquote(value) for name, value in match.groupdict().items() if value}
                answer = getattr(self, f"_{method}")(**asked)
                return answer if isinstance(answer, Answer) else Answer(json.dumps(answer).encode())
        raise Refused(404, message=f"no such address: {request}")

    def _send(self, answer: Answer) -> None:
        fault, content = self.fault, answer.content if self.fault.content is None else self.fault.content
        if fault.is_corrupt:
            content = content[:-16] + bytes(255 - byte for byte in content[-16:])
        content = content[: len(content) - fault.lose]
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(content[: fault.cut_download])
        if fault.is_reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.connection.close()
        if fault.cut_download is not None:
            self.close_connection = True

    # Who asks, for what.

    def _user(self) -> "User | None":
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.users:
            # By these words the client tells it from a repository that is not there.
            raise Refused(401, message="Invalid credentials in Authorization header")
        return self.hub.users.get(token)

    def _signed_in(self) -> "User":
        user = self._user()
        if user is None:
            raise Refused(401, message=SIGN_IN)
        return user

    def _repository(self, address: str) -> Repository:
        """The repository, for who may read it."""
        user, repository = self._user(), self.hub.repositories.get(address)
        if repository is None or (repository.private and not (user and user.owns(address))):
            # With 401 the client needs the code over http alone: over https it knows what is meant.
            raise Refused(401, "RepoNotFound", SIGN_IN) if user is None else Refused(404, "RepoNotFound")
        return repository

    def _writable(self, address: str, *, is_proposal: bool = False, revision: str = "") -> Repository:
        """The repository, for who may commit to it, or open a pull request, or has opened the one of that branch."""
        repository, user = self._repository(address), self._user()
        named = user.name if user else None
        is_proposal = is_proposal or any(revision == p.branch and p.author == named for p in repository.proposals)
        if user is None:
            raise Refused(401, "RepoNotFound", SIGN_IN)
        if not user.may_write:
            raise Refused(403, message="Forbidden: you must use a write token to upload to a repository.")
        if not (is_proposal or user.owns(address)):
            raise Refused(403, message="Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
        return repository

    # Accounts and repositories.

    def _whoami(self) -> Any:
        user = self._signed_in()
        token = {"displayName": "test", "role": "write" if user.may_write else "read"}
        organizations = [{"type": "org", "name": namespace} for namespace in user.namespaces[1:]]
        about = {"type": "user", "name": user.name, "orgs": organizations}
        return {**about, "auth": {"type": "access_token", "accessToken": token}}

    def _validate_card(self) -> Any:
        return {"errors": [], "warnings": []}

    def _create(self) -> Any:
        user, request = self._signed_in(), json.loads(self.body)
        kind, name = request.get("type", "model"), f"{request['organization'] or user.name}/{request['name']}"
        address = f"datasets/{name}" if kind == "dataset" else name
        if not (user.may_write and user.owns(address)):
            raise Refused(403, message=f"You don't have the rights to create a {kind} under this namespace")
        about = {"name": name, "url": f"{self.hub.endpoint}/{address}"}
        if address in self.hub.repositories:
            return Answer(json.dumps({"error": f"You already created this {kind} repo", **about}).encode(), 409)
        self.hub.add(address, private=request.get("visibility") == "private")
        return about

    def _branch(self, address: str, revision: str) -> Any:
        repository = self._writable(address)
        if revision in repository.branches:
            raise Refused(409, message=f"Reference already exists: refs/heads/{revision}")
        repository.branches[revision] = _commit(repository, json.loads(self.body).get("startingPoint", "main"))
        return {}

    # Reading.

    def _info(self, address: str, revision: str = "main") -> Any:
        repository = self._repository(address)
        commit = _commit(repository, revision)
        about = {"id": address.removeprefix("datasets/"), "sha": commit.oid, "private": repository.private}
        return {**about, "gated": False, "tags": [], "siblings": [{"rfilename": path} for path in commit.files]}

    def _tree(self, address: str, revision: str, path: str = "") -> Any:
        is_deep = self.query.get("recursive") == "true"
        entries = _commit(self._repository(address), revision).entries(path, is_deep=is_deep)
        if path and not entries:
            raise Refused(404, "EntryNotFound", f"{path} does not exist")
        return entries

    def _paths_info(self, address: str, revision: str) -> Any:
        entries = _commit(self._repository(address), revision).entries(is_deep=True)
        return [entry for entry in entries if entry["path"] in parse_qs(self.body.decode())["paths"]]

    def _resolve(self, address: str, revision: str, path: str) -> Any:
        commit = _commit(self._repository(address), revision)
        headers, file = {"X-Repo-Commit": commit.oid}, commit.files.get(path)
        if file is None:
            raise Refused(404, "EntryNotFound", "Entry not found", headers)
        headers |= {"ETag": f'"{file.oid}"', "Accept-Ranges": "bytes"}
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not span:
            return Answer(file.content, 200, headers)
        first, last = span.groups()
        size = len(file.content)
        start = int(first) if first else max(size - int(last), 0)
        part = file.content[start : int(last) + 1 if first and last else size]
        if not part:
            raise Refused(416, headers={"Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{size}"
        return Answer(part, 206, headers)

    def _discussions(self, address: str) -> Any:
        repository, start = self._repository(address), PAGE * int(self.query.get("p", 0))
        kind, status, author = (self.query.get(name, "all") for name in ("type", "status", "author"))
        listed = [
            {
                "num": proposal.number, "title": proposal.title, "author": {"name": proposal.author},
                "status": proposal.status, "isPullRequest": True, "createdAt": "2026-01-01T00:00:00.000Z",
                "repo": {"name": address.removeprefix("datasets/"), "type": "model"},
            }
            for proposal in reversed(repository.proposals)
            if kind != "discussion" and status in ("all", proposal.status) and author in ("all", proposal.author)
        ]  # fmt: skip
        return {"discussions": listed[start : start + PAGE], "count": len(listed), "start": start}

    # Writing: what is new is announced (preupload, and batch for large files), sent (store), then committed.

    def _preupload(self, address: str, revision: str) -> Any:
        is_proposal = "create_pr" in self.query
        held = _commit(self._writable(address, is_proposal=is_proposal, revision=revision), revision).files
        files = []
        for file in json.loads(self.body)["files"]:
            path, mode = file["path"], "lfs" if is_large(file["path"], file["size"]) else "regular"
            oid = {"oid": held[path].oid} if path in held else {}
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **oid})
        return {"files": files}

    def _batch(self, address: str) -> Any:
        request = json.loads(self.body)
        # For a pull request the client names no branch.
        ref = request.get("ref", {}).get("name", "")
        stored = self._writable(address, is_proposal="ref" not in request, revision=ref).stored
        objects = []
        for blob in request["objects"]:
            href = f"{self.hub.endpoint}/lfs/{address}/{blob['oid']}"
            actions = {"upload": {"href": href}, "verify": {"href": f"{href}/verify"}}
            objects.append(blob if blob["oid"] in stored else {**blob, "actions": actions})
        return {"transfer": "basic", "objects": objects}

    def _store(self, address: str, oid: str) -> Any:
        # As on the Hub, who knows this address needs no token.
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, message="The content has another SHA-256 than was announced.")
        self.hub.repositories[address].stored[oid] = self.body
        return {}

    def _verify(self, address: str, oid: str) -> Any:
        if len(self._repository(address).stored.get(oid, b"")) != json.loads(self.body)["size"]:
            raise Refused(404, message="The object is not there.")
        return {}

    def _commit(self, address: str, revision: str) -> Any:
        is_proposal = "create_pr" in self.query
        repository = self._writable(address, is_proposal=is_proposal, revision=revision)
        parent = repository.branches.get(revision)
        if parent is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        header, *operations = (json.loads(line) for line in self.body.splitlines())
        if not parent.oid.startswith(header["value"].get("parentCommit", "")):
            raise Refused(412, message="A commit has happened since. Please refresh and try again.")
        files, uploads = dict(parent.files), []
        for operation in operations:
            value, path = operation["value"], operation["value"]["path"]
            if operation["key"].startswith("deleted"):
                _delete(path, files)
                continue
            files[path] = _file(value, repository)
            if "content" in value or not repository.holds(value["oid"]):
                uploads.append((path, len(files[path].content)))
        commit, number = Commit(header["value"]["summary"], files, parent), 1 + len(repository.proposals)
        if is_proposal:
            repository.proposals.append(Proposal(number, commit.message, self._signed_in().name))
            revision = repository.proposals[-1].branch
        repository.commit(revision, commit)
        self.hub.uploads += uploads
        page = f"{self.hub.endpoint}/{address}"
        proposal = {"pullRequestUrl": f"{page}/discussions/{number}"} if is_proposal else {}
        return {"success": True, "commitOid": commit.oid, "commitUrl": f"{page}/commit/{commit.oid}", **proposal}


def _commit(repository: Repository, revision: str) -> Commit:
    commit = repository.at(revision)
    if commit is None:
        raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit


def _file(value: dict[str, Any], repository: Repository) -> File:
    """What a commit adds: a file that comes with it, or one that was stored before."""
    if "content" in value:
        return File(base64.b64decode(value["content"]), is_large=False)
    if value["oid"] not in repository.stored:
        raise Refused(400, message=f"{value['path']}: there is no such LFS object.")
    return File(repository.stored[value["oid"]], is_large=True)


def _delete(path: str, files: dict[str, File]) -> None:
    gone = [file for file in files if file == path or file.startswith(f"{path.rstrip('/')}/")]
    if not gone:
        raise Refused(404, "EntryNotFound", f"A file with this name doesn't exist: {path}")
    for file in gone:
        del files[file]
