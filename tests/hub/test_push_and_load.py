"""Checkpoints and datasets from the Hub: the real clients, in real processes, against a server on loopback."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import processes
import pytest
from hub_server import HubServer

# No server listens on port 9, "discard", of a machine that runs tests.
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def finetune(tmp_path: Path, hub: HubServer) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command in a process of its own, with empty caches that last for the test."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        caches = {"HF_HOME": str(tmp_path / "huggingface"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        client = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        variables = {**os.environ, **caches, **client, **environment}
        return processes.run("-m", "nfft.finetune", *arguments, cwd=tmp_path, env=variables)

    return run


def complaint(run: subprocess.CompletedProcess[str]) -> str:
    """What the command said was wrong: one line, in words."""
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    *_, last = run.stderr.splitlines()
    assert last.startswith("nfft: ")
    return last


@pytest.fixture
def dataset(tmp_path: Path, image_folder: Callable[..., Path]) -> Path:
    """A dataset repository: one Parquet file with images and named classes."""
    datasets.disable_progress_bars()
    images = datasets.load_dataset(str(image_folder(classes=["ant", "bee", "wasp"])), split="train")
    folder = tmp_path / "dataset"
    (folder / "data").mkdir(parents=True)
    # With the pictures inside, as `push_to_hub` puts them there: of files it names, others have none.
    inside = images.with_format("arrow").map(datasets.table.embed_table_storage, batched=True).with_format(None)
    inside.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


def test_a_checkpoint_and_a_dataset_are_fetched_once_and_then_cached(hub, finetune, checkpoint, dataset, tmp_path):
    hub.models["user/net"], hub.datasets["user/insects"] = checkpoint, dataset
    asked = ["--task", "user/insects", "--model", "user/net", "--steps", "2", "--batch-size", "4"]

    first = finetune(*asked, "--output-dir", "first")
    assert first.returncode == 0, first.stderr
    assert "insects: 21 train, 3 validation images, 3 classes" in first.stdout
    assert re.search(r"user/net: test_nfnet.*new classifier in place of that for 7 classes", first.stdout)
    assert (tmp_path / "first" / "model.safetensors").is_file()

    hub.requests.clear()
    again = finetune(*asked, "--output-dir", "again", HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert hub.requests == []
    files = [tmp_path / run / "model.safetensors" for run in ("first", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_dataset_of_the_hub_opens_no_files_of_this_machine(hub, finetune, checkpoint, dataset):
    (file,) = (dataset / "data").iterdir()
    table = datasets.Dataset.from_parquet(str(file)).cast_column("image", datasets.Image(decode=False))
    mine = file.parents[2] / "photos" / "ant" / "0.png"
    assert mine.is_file()
    table.map(lambda row: {"image": {"bytes": None, "path": str(mine)}}).to_parquet(file)
    hub.models["user/net"], hub.datasets["user/insects"] = checkpoint, dataset
    done = finetune("--task", "user/insects", "--model", "user/net")
    assert done.returncode == 2
    assert "24 of 24 images cannot be read" in done.stderr and "No such file" in done.stderr


def test_a_pickle_is_refused_and_never_fetched(hub, finetune, checkpoint):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    hub.models["user/pickled"] = checkpoint
    said = complaint(finetune("--task", "digits", "--model", "user/pickled"))
    assert re.search(r"user/pickled: expected model\.safetensors.*pytorch_model\.bin, a pickle.*convert", said)
    assert any("config.json" in request for request in hub.requests)
    assert not any("pytorch_model.bin" in request for request in hub.requests)


def test_a_model_that_the_hub_does_not_have(finetune):
    said = complaint(finetune("--task", "digits", "--model", "user/nte"))
    assert re.search(r"user/nte is neither a folder here nor a model on the Hub: check its spelling", said)


def test_a_dataset_that_the_hub_does_not_have(finetune):
    said = complaint(finetune("--task", "user/insetcs", "--model", "scratch:test_nfnet"))
    assert re.search(r"user/insetcs is neither a folder here nor a dataset on the Hub: check its spelling", said)


def test_the_hub_is_out_of_reach(finetune):
    said = complaint(finetune("--task", "digits", "--model", "user/net", HF_ENDPOINT=NOWHERE))
    assert re.search(r"could not be reached for the model user/net.*To work offline, give --model a local folder", said)
