"""What can go wrong when a checkpoint or a dataset comes from the Hub is a sentence; nothing damaged is used."""

import json
import re
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from hub_server import WRITER, HubServer
from PIL import Image

from nfft.models.build import build_network
from nfft.models.checkpoint import random_checkpoint
from nfft.models.saving import save_network
from nfft.models.transforms import squash_preprocessing

# One process plays all of it against a server of its own: the client reads the address when it is imported.
PLAY = """
import json, os, shutil, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from hub_server import HubServer, READER, WRITER

with HubServer() as hub:
    os.environ |= hub.environment()
    import time
    pause, time.sleep = time.sleep, lambda seconds: pause(min(seconds, 0.01))
    import nfft
    from huggingface_hub import constants
    from nfft.data.splits import load_data
    from nfft.errors import UserError
    from nfft import Task
    net, photos = Path(sys.argv[2]), Path(sys.argv[3])
    work, said = Path(sys.argv[4]), {}

    def fresh(**changes):
        "A new repository, so that nothing of it is cached."
        name = f"user/net{len(hub.repositories)}"
        folder = work / name
        shutil.copytree(net, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        hub.add(name, folder)
        return name

    def attempt(case, name, **arguments):
        try:
            said[case] = f"loaded {len(nfft.AutoNFNet.from_pretrained(name, **arguments).labels)}"
        except UserError as error:
            said[case] = str(error)
        hub.mend()

    for status in (401, 403, 404, 429, 500, 503):
        name = fresh()
        hub.fail(status, times=float("inf"), matching="/api/models/", retry_after=0 if status == 429 else None)
        attempt(f"{status} at first", name)
        name = fresh()
        hub.fail(status, times=float("inf"), matching="GET .*/resolve/", retry_after=0 if status == 429 else None)
        attempt(f"{status} on the file", name)

    name = fresh()
    hub.cut_download(after=200_000, times=2, matching="GET .*safetensors")
    attempt("cut twice", name)
    name = fresh()
    hub.cut_download(after=200_000, times=float("inf"), matching="GET .*safetensors")
    attempt("cut for ever", name)
    hub.mend()
    attempt("cut for ever, then mended", name)
    name = fresh()
    hub.cut_download(after=200_000, times=float("inf"), matching="GET .*safetensors", is_reset=True)
    attempt("reset", name)
    name = fresh()
    hub.corrupt(matching="GET .*safetensors")
    attempt("corrupt", name)
    attempt("corrupt, then mended", name)
    name = fresh()
    hub.corrupt(matching="GET .*safetensors", lose=1000)
    attempt("short", name)
    attempt("short, then mended", name)

    attempt("another architecture", fresh(architecture="nf_resnet26"))
    attempt("no architecture of timm's", fresh(architecture="os.system"))
    attempt("no such model", "user/nothing")
    attempt("no such revision", fresh(), revision="nowhere")
    name = fresh()
    attempt("not cached", name, local_files_only=True)
    attempt("fetched", name)
    attempt("cached", name, local_files_only=True)
    patience, constants.HF_HUB_DOWNLOAD_TIMEOUT = constants.HF_HUB_DOWNLOAD_TIMEOUT, 1
    hub.be_silent(times=float("inf"))
    attempt("cached and silent", name)
    hub.be_silent(times=float("inf"))
    attempt("silent", "user/other")
    constants.HF_HUB_DOWNLOAD_TIMEOUT = patience
    hub.stop()
    attempt("cached and down", name)
    attempt("down", "user/other")
    hub.start()

    private = fresh()
    hub.repositories[private].private = True
    attempt("private, no token", private)
    attempt("private, wrong token", private, token="hf_wrong")
    attempt("private, a token", private, token=READER)
    attempt("a cache of its own", private, token=READER, cache_dir=work / "cache")
    assert any((work / "cache").rglob("model.safetensors"))

    def attempt_data(case, name):
        try:
            said[case] = f"loaded {len(load_data(Task(name='photos', source=name)).train)}"
        except UserError as error:
            said[case] = str(error)
        hub.mend()

    hub.add("datasets/user/photos", photos)
    attempt_data("data", "user/photos")
    attempt_data("no such data", "user/nothing")
    hub.add("datasets/user/private", photos, private=True)
    attempt_data("private data", "user/private")
    for status in (403, 429, 500):
        hub.add(f"datasets/user/photos{status}", photos)
        hub.fail(status, times=float("inf"), retry_after=0)
        attempt_data(f"data, {status}", f"user/photos{status}")
    hub.add("datasets/user/damaged", photos)
    hub.corrupt(matching="GET .*parquet")
    attempt_data("data, corrupt", "user/damaged")
    print(json.dumps(said))
"""

EXPECTED = {
    "401 at first": "does not accept your token|neither a folder here nor a model",
    "403 at first": "your token may not do this with user/net",
    "404 at first": "neither a folder here nor a model on the Hub",
    "429 at first": "too many requests",
    "500 at first": r"trouble of its own \(status 500\)",
    "503 at first": r"trouble of its own \(status 503\)",
    "401 on the file": "does not accept your token|neither a folder here nor a model",
    "403 on the file": "your token may not do this with user/net",
    "404 on the file": "neither a folder here nor a model on the Hub",
    "429 on the file": "too many requests",
    "500 on the file": r"trouble of its own \(status 500\)",
    "503 on the file": r"trouble of its own \(status 503\)",
    "cut twice": "loaded 7",
    "cut for ever": "could not be reached|incomplete",
    "cut for ever, then mended": "loaded 7",
    "reset": "could not be reached|incomplete",
    "corrupt": r"model.safetensors was damaged on its way here and has been removed. Try again",
    "corrupt, then mended": "loaded 7",
    "short": "is incomplete: try again",
    "short, then mended": "loaded 7",
    "another architecture": "the weights do not fit the network that config.json describes",
    "no architecture of timm's": r"timm has no architecture 'os.system'",
    "no such model": "user/nothing is neither a folder here nor a model on the Hub",
    "no such revision": "has no branch, tag or commit 'nowhere'",
    "not cached": "could not be reached for the model .*",
    "fetched": "loaded 7",
    "cached": "loaded 7",
    "cached and silent": "loaded 7",
    "silent": "the Hub could not be reached for the model user/other",
    "cached and down": "loaded 7",
    "down": "the Hub could not be reached for the model user/other",
    "private, no token": r"neither a folder here nor a model on the Hub: .*`hf auth login`",
    "private, wrong token": "does not accept your token|neither a folder here nor a model",
    "private, a token": "loaded 7",
    "a cache of its own": "loaded 7",
    "data": "loaded 21",
    "no such data": "user/nothing is neither a folder here nor a dataset on the Hub",
    "private data": "user/private is neither a folder here nor a dataset on the Hub",
    "data, 403": "the Hub could not be reached for the dataset",
    "data, 429": "the Hub could not be reached for the dataset",
    "data, 500": "the Hub could not be reached for the dataset",
    "data, corrupt": "the data of task photos could not be read|could not be reached",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("play")
    source = random_checkpoint("test_nfnet", {})
    network = build_network(source, list("abcdefg"), dropout=0, stochastic_depth=0)
    (folder / "net").mkdir()
    preprocessing = squash_preprocessing(source, 32, 0)
    save_network(network, folder / "net", checkpoint=source, classes=list("abcdefg"), preprocessing=preprocessing)
    photos(folder / "photos")
    (folder / "work").mkdir()
    with HubServer() as unused:
        environment = unused.environment()
    arguments = [
        str(Path(__file__).parents[1] / "support"),
        *(str(folder / name) for name in ("net", "photos", "work")),
    ]
    command = [sys.executable, "-c", PLAY, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert WRITER not in done.stdout
    return json.loads(done.stdout.splitlines()[-1])


def photos(folder: Path) -> None:
    """A dataset repository: 21 images of three classes in one Parquet file, and 3 to validate."""
    datasets.disable_progress_bars()
    draw = np.random.default_rng(0)
    names = datasets.ClassLabel(names=["ant", "bee", "wasp"])
    images = [Image.fromarray(draw.integers(0, 256, (16, 16, 3), np.uint8)) for _ in range(24)]
    columns = {"image": images, "label": [index % 3 for index in range(24)]}
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(image=datasets.Image(), label=names))
    (folder / "data").mkdir(parents=True)
    table.to_parquet(folder / "data" / "train-00000-of-00001.parquet")


@pytest.mark.parametrize("case", EXPECTED)
def test_case(said: dict[str, str], case: str) -> None:
    assert re.search(EXPECTED[case], said[case]), said[case]


def test_every_case_is_expected(said: dict[str, str]) -> None:
    assert said.keys() == EXPECTED.keys()
