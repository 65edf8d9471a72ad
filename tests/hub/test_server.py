"""The Hub on loopback proves itself with the real clients alone, in processes of their own."""

import inspect
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
from hub_server import READER, STRANGER, WRITER, HubServer
from PIL import Image

LARGE = 11 * 10**6


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A folder as a fine-tuned network's: some text, and weights that are large to the Hub."""
    folder = tmp_path / "net"
    (folder / "plots").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\nfirst\n")
    (folder / "plots" / "loss.csv").write_text("step,loss\n1,0.5\n")
    (folder / "model.safetensors").write_bytes(os.urandom(LARGE))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def outcome(action: Callable[[], object]) -> str:
    """What came of `action`: "done", or the error and its causes, as "OuterError < InnerError 503"."""
    try:
        action()
    except Exception as error:
        names, cause = [], error
        while cause is not None:
            response = getattr(cause, "response", None)
            names.append(type(cause).__name__ + (f" {response.status_code}" if response else ""))
            cause = None if response or type(cause).__module__ == "httpx2" else cause.__cause__
        return " < ".join(names)
    return "done"


def run(hub: HubServer, function: Callable[..., Any], *, token: str = "", **arguments: Any) -> Any:
    """What `function` returns in a process that knows this Hub alone; it imports what it needs."""
    imports = "import json, sys\nfrom collections.abc import Callable\nfrom typing import Any\n"
    call = f"print(json.dumps({function.__name__}(**json.loads(sys.argv[1]))))"
    source = "\n".join([imports, inspect.getsource(outcome), inspect.getsource(function), call])
    environment = hub.environment(token) | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = processes.run("-c", source, json.dumps(arguments), env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def push_and_fetch(folder: str) -> dict[str, str]:
    from pathlib import Path

    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download

    api, card = HfApi(), Path(folder, "README.md")
    said = {
        "user": api.whoami()["name"],
        "url": str(api.create_repo("user/net")),
        "fresh": snapshot_download("user/net"),
    }
    said["again"] = outcome(lambda: api.create_repo("user/net"))
    api.create_repo("user/net", exist_ok=True)

    said["first"] = api.upload_folder(repo_id="user/net", folder_path=folder).oid
    said["fetched"] = snapshot_download("user/net")
    card.write_text("---\nlicense: mit\n---\nsecond\n")
    said["second"] = api.upload_folder(repo_id="user/net", folder_path=folder).oid
    said["unchanged"] = api.upload_folder(repo_id="user/net", folder_path=folder).oid
    said["stale"] = outcome(
        lambda: api.upload_file(
            repo_id="user/net", path_or_fileobj=b"", path_in_repo="empty", parent_commit=said["first"]
        )
    )
    for name, revision in {"by commit": said["first"], "by branch": "main"}.items():
        said[name] = Path(hf_hub_download("user/net", "README.md", revision=revision)).read_text()

    api.create_branch("user/net", branch="draft", revision=said["first"])
    said["branch again"] = outcome(lambda: api.create_branch("user/net", branch="draft"))
    operations = [CommitOperationAdd("note.txt", b"draft"), CommitOperationDelete("plots/")]
    api.create_commit("user/net", operations, commit_message="Draft", revision="draft")
    card.write_text("---\nlicense: mit\n---\nproposed\n")
    request = api.upload_folder(repo_id="user/net", folder_path=folder, create_pr=True, commit_message="Propose")
    said |= {"request": request.pr_revision, "request url": request.pr_url}
    said["by request"] = Path(hf_hub_download("user/net", "README.md", revision="refs/pr/1")).read_text()

    said["no revision"] = outcome(lambda: snapshot_download("user/net", revision="nowhere"))
    said["no file"] = outcome(lambda: hf_hub_download("user/net", "nothing.txt"))
    return said


def test_a_folder_is_pushed_changed_and_fetched(hub, net):
    first = contents(net)
    # The client keeps what it gets in steps of 10 MiB: it asks for the rest alone.
    hub.cut_download(after=LARGE - 1000, matching="GET .*safetensors")
    said = run(hub, push_and_fetch, token=WRITER, folder=str(net))
    assert (said["user"], said["url"], said["again"]) == ("user", f"{hub.endpoint}/user/net", "HfHubHTTPError 409")
    assert list(contents(Path(said["fresh"]))) == [".gitattributes"]

    fetched = contents(Path(said["fetched"]))
    assert fetched == first | {".gitattributes": fetched[".gitattributes"]} == hub.files("user/net", said["first"])
    assert sum(bool(re.match("GET .*safetensors", request)) for request in hub.requests) == 2
    assert hub.files("user/net") == fetched | {"README.md": b"---\nlicense: mit\n---\nsecond\n"}
    assert said["second"] == said["unchanged"]
    assert said["stale"] == "HfHubHTTPError 412"
    assert said["by commit"].endswith("first\n")
    assert said["by branch"].endswith("second\n")
    assert hub.commits("user/net")[-1].message == "initial commit"
    assert [commit.oid for commit in hub.commits("user/net")][:2] == [said["second"], said["first"]]

    assert said["branch again"] == "HfHubHTTPError 409"
    draft = {"README.md", "model.safetensors", "note.txt", ".gitattributes"}
    assert hub.files("user/net", "draft").keys() == draft
    assert (said["request"], said["request url"]) == ("refs/pr/1", f"{hub.endpoint}/user/net/discussions/1")
    assert said["by request"].endswith("proposed\n")
    assert hub.files("user/net", "refs/pr/1")["README.md"] == said["by request"].encode()
    assert hub.commits("user/net", "refs/pr/1")[0].message == "Propose"

    # Of all that was pushed, only what was new came over the network.
    sizes = [("README.md", len(first["README.md"])), ("model.safetensors", LARGE), ("plots/loss.csv", 16)]
    assert hub.uploads == [*sizes, ("README.md", 28), ("note.txt", 5), ("README.md", 30)]
    assert sum(request.startswith("PUT ") for request in hub.requests) == 1
    assert (said["no revision"], said["no file"]) == ("RevisionNotFoundError 404", "RemoteEntryNotFoundError 404")


def knock(tokens: dict[str, str]) -> dict[str, list[str]]:
    from huggingface_hub import HfApi

    said = {}
    for name, token in tokens.items():
        api, answers = HfApi(token=token or False), []
        for address in ("user/open", "user/secret", "user/none"):
            answers.append(outcome(lambda api=api, address=address: api.model_info(address)))
        for address in ("user/open", "user/secret"):
            file = {"path_or_fileobj": b"new", "path_in_repo": f"{name}.txt"}
            answers.append(
                outcome(lambda api=api, address=address, file=file: api.upload_file(repo_id=address, **file))
            )
        answers.append(outcome(lambda api=api, name=name: api.create_repo(f"team/{name}", private=True)))
        said[name] = answers
    return said


def test_who_may_see_and_write_what(hub):
    hub.add("user/open")
    hub.add("user/secret", private=True)
    tokens = {"nobody": "", "wrong": "hf_wrong", "stranger": STRANGER, "reader": READER, "writer": WRITER}
    said = run(hub, knock, tokens=tokens)
    unknown, missing = "RepositoryNotFoundError 401", "RepositoryNotFoundError 404"
    refused, forbidden = "HfHubHTTPError 401", "HfHubHTTPError 403"
    assert said == {
        # Reads open, secret, none; writes open, secret; creates.
        "nobody": ["done", unknown, unknown, unknown, unknown, refused],
        "wrong": [refused] * 6,
        "stranger": ["done", missing, missing, forbidden, missing, forbidden],
        "reader": ["done", "done", missing, forbidden, forbidden, forbidden],
        "writer": ["done", "done", missing, "done", "done", "done"],
    }
    assert hub.files("user/secret")["writer.txt"] == b"new"
    assert hub.repositories["team/writer"].private


def share_a_network(folder: str) -> dict[str, bool | str]:
    from pathlib import Path

    import timm
    import torch
    from huggingface_hub import HfApi
    from timm.models import save_for_hf
    from transformers import AutoModelForImageClassification

    network = timm.create_model("test_nfnet", num_classes=3).eval()
    torch.nn.init.normal_(network.get_classifier().weight)
    save_for_hf(network, folder, safe_serialization=True)
    # transformers refuses a number of classes there, which timm also writes where both look for it.
    config = json.loads(Path(folder, "config.json").read_text())
    del config["model_args"]["num_classes"]
    Path(folder, "config.json").write_text(json.dumps(config))
    HfApi().create_repo("user/net", private=True)
    HfApi().upload_folder(repo_id="user/net", folder_path=folder)

    images = torch.rand(2, *network.pretrained_cfg["input_size"])
    with torch.inference_mode():
        expected = network(images)
        by_timm = timm.create_model("hf-hub:user/net", pretrained=True).eval()(images)
        by_transformers = AutoModelForImageClassification.from_pretrained("user/net").eval()(images).logits
    return {
        "timm": torch.equal(by_timm, expected),
        "transformers": torch.equal(by_transformers, expected),
        "timm, missing": outcome(lambda: timm.create_model("hf-hub:user/none", pretrained=True)),
        "transformers, missing": outcome(lambda: AutoModelForImageClassification.from_pretrained("user/none")),
    }


def test_timm_and_transformers_load_a_shared_network(hub, tmp_path):
    assert run(hub, share_a_network, token=WRITER, folder=str(tmp_path)) == {
        "timm": True,
        "transformers": True,
        "timm, missing": "RepositoryNotFoundError 404",
        "transformers, missing": "OSError < RepositoryNotFoundError 404",
    }
    assert any(request.startswith("GET /user/net/resolve/") for request in hub.requests)
    assert hub.repositories["user/net"].private


def load_datasets(folder: str) -> dict[str, Any]:
    import numpy as np
    from datasets import load_dataset
    from huggingface_hub import HfApi

    photos = load_dataset("user/photos", split="train")
    photos.to_parquet(f"{folder}/data/train-00000-of-00001.parquet")
    HfApi().create_repo("user/table", repo_type="dataset", private=True)
    HfApi().upload_folder(repo_id="user/table", repo_type="dataset", folder_path=folder)

    def pixels(rows: Any) -> list[Any]:
        return [np.asarray(row["image"]).tolist() for row in rows]

    table = load_dataset("user/table", split="train")
    streams = [load_dataset(name, split="train", streaming=True) for name in ("user/photos", "user/table")]
    return {
        "classes": [dataset.features["label"].names for dataset in (photos, table)],
        "labels": list(photos["label"]),
        "pixels": pixels(photos),
        "same": [pixels(dataset) == pixels(photos) for dataset in (table, *streams)],
        "missing": outcome(lambda: load_dataset("user/none")),
        "busy": outcome(lambda: load_dataset("user/busy")),
    }


def test_datasets_loads_folders_and_tables(hub, tmp_path, image_folder):
    folder = image_folder(images=2)
    hub.add("datasets/user/photos", folder)
    hub.fail(503, times=math.inf, matching="datasets/user/busy")
    (tmp_path / "table" / "data").mkdir(parents=True)
    said = run(hub, load_datasets, token=WRITER, folder=str(tmp_path / "table"))
    assert said["classes"] == [["ant", "bee"]] * 2
    assert said["labels"] == [0, 0, 1, 1]
    assert said["pixels"] == [np.asarray(Image.open(path)).tolist() for path in sorted(folder.rglob("*.png"))]
    assert said["same"] == [True] * 3
    assert said["missing"] == "DatasetNotFoundError"
    assert said["busy"] == "FileNotFoundError"
    assert [path for path, _ in hub.uploads] == ["data/train-00000-of-00001.parquet"]


class Faults:
    """A repository for each thing that goes wrong, and what the client makes of it."""

    def __init__(self, hub: HubServer, folder: Path | None = None) -> None:
        self.hub, self.folder = hub, folder
        self.expected: dict[str, str] = {}

    def add(self, name: str, expected: str, fault: Callable[..., None], *arguments: int, **details: Any) -> None:
        """Let `fault` befall the requests of repository user/`name`: all of them, or those that `matching` says."""
        self.hub.add(f"user/{name}", self.folder)
        details["matching"] = details.get("matching", "/user/{}[/.]").format(name)
        fault(*arguments, **{"times": math.inf, **details})
        self.expected[name] = expected


def pull(names: list[str]) -> dict[str, str]:
    from huggingface_hub import snapshot_download

    return {name: outcome(lambda name=name: snapshot_download(f"user/{name}")) for name in names}


def test_downloads_that_go_wrong(hub, net):
    (net / "model.safetensors").write_bytes(os.urandom(10**6))
    faults = Faults(hub, net)
    # At the first request: the client then looks into its cache, and blames what is not there.
    faults.add("token", "HfHubHTTPError 401", hub.fail, 401)
    faults.add("forbidden", "LocalEntryNotFoundError < HfHubHTTPError 403", hub.fail, 403)
    faults.add("gated", "GatedRepoError 403", hub.fail, 403, code="GatedRepo")
    faults.add("gone", "RepositoryNotFoundError 404", hub.fail, 404, code="RepoNotFound")
    faults.add("lost", "LocalEntryNotFoundError < HfHubHTTPError 404", hub.fail, 404)
    faults.add("conflict", "LocalEntryNotFoundError < HfHubHTTPError 409", hub.fail, 409)
    faults.add("limited", "LocalEntryNotFoundError < HfHubHTTPError 429", hub.fail, 429)
    faults.add("broken", "LocalEntryNotFoundError < HfHubHTTPError 500", hub.fail, 500)
    faults.add("busy", "LocalEntryNotFoundError < HfHubHTTPError 503", hub.fail, 503)
    faults.add("silent", "RemoteProtocolError", hub.cut_upload, after=0)
    # At a file: the client tries again after some of these, and after others not even once.
    weights = "GET /user/{}/resolve/.*safetensors"
    faults.add("limited-once", "done", hub.fail, 429, times=1, matching=weights, retry_after=1)
    faults.add("busy-once", "HfHubHTTPError 503", hub.fail, 503, times=1, matching=weights)
    faults.add("cut-once", "done", hub.cut_download, after=1000, times=1, matching=weights)
    faults.add("cut", "RemoteProtocolError", hub.cut_download, after=1000, matching=weights)
    faults.add("reset-once", "ReadError", hub.cut_download, after=1000, times=1, matching=weights, is_reset=True)
    faults.add("short", "OSError", hub.corrupt, lose=1, matching=weights)
    # It compares no hashes.
    faults.add("corrupt", "done", hub.corrupt, matching=weights)
    assert run(hub, pull, names=list(faults.expected)) == faults.expected


def push(names: list[str], folder: str) -> dict[str, str]:
    from huggingface_hub import HfApi

    def upload(name: str) -> None:
        HfApi().upload_folder(repo_id=f"user/{name}", folder_path=folder)

    return {name: outcome(lambda name=name: upload(name)) for name in names}


def test_uploads_that_go_wrong(hub, net):
    (net / "model.safetensors").write_bytes(os.urandom(10**6))
    faults = Faults(hub)
    # No repository is named when a card is checked: the first push fails.
    faults.add("card", "ValueError < BadRequestError 400", hub.fail, 400, times=1, matching="validate-yaml")
    for status in (401, 403, 404, 409, 429, 500, 503):
        faults.add(f"{status}", f"HfHubHTTPError {status}", hub.fail, status, matching="/user/{}/commit/")
    faults.add("cut", "RemoteProtocolError", hub.cut_upload, after=10, matching="/user/{}/commit/")
    faults.add("limited-once", "done", hub.fail, 429, times=1, matching="/user/{}/preupload/", retry_after=0)
    weights = "PUT /lfs/user/{}/"
    faults.add("weights-busy", "RuntimeError < HfHubHTTPError 503", hub.fail, 503, matching=weights)
    faults.add("weights-busy-twice", "done", hub.fail, 503, times=2, matching=weights)
    faults.add("weights-cut", "RuntimeError < RemoteProtocolError", hub.cut_upload, after=1000, matching=weights)
    faults.add("weights-cut-once", "done", hub.cut_upload, after=1000, times=1, matching=weights)
    said = run(hub, push, token=WRITER, names=list(faults.expected), folder=str(net))
    # Cut off while it still sends, the client may also see this.
    said["weights-cut"] = said["weights-cut"].replace("ReadError", "RemoteProtocolError")
    assert said == faults.expected
    assert list(hub.files("user/503")) == [".gitattributes"]

    # What was sent before the commit failed is not sent again.
    hub.mend()
    assert run(hub, push, token=WRITER, names=["503"], folder=str(net)) == {"503": "done"}
    assert sum(request.startswith("PUT /lfs/user/503/") for request in hub.requests) == 1
    assert hub.files("user/503")["model.safetensors"] == (net / "model.safetensors").read_bytes()


def knock_at(folder: str) -> list[str]:
    from datasets import load_dataset
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    return [
        outcome(lambda: snapshot_download("user/net")),
        outcome(lambda: hf_hub_download("user/net", "README.md")),
        outcome(lambda: HfApi().list_repo_files("user/net")),
        outcome(lambda: HfApi().create_repo("user/new")),
        outcome(lambda: HfApi().upload_folder(repo_id="user/net", folder_path=folder)),
        outcome(lambda: load_dataset("user/photos")),
    ]


def test_a_hub_that_is_down_and_up_again(hub, net, image_folder):
    hub.add("user/net", net)
    hub.add("datasets/user/photos", image_folder(images=1))
    hub.stop()
    unreachable = "LocalEntryNotFoundError < ConnectError"
    down = [unreachable, unreachable, *["ConnectError"] * 3, "ConnectionError"]
    assert run(hub, knock_at, token=WRITER, folder=str(net)) == down
    assert hub.requests == []

    hub.start()
    assert run(hub, knock_at, token=WRITER, folder=str(net)) == ["done"] * 6
