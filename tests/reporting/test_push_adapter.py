"""An adapter is pushed without its base, says what it changes, and comes back from the Hub as it was."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import processes
import pytest
import yaml
from hub_server import WRITER, HubServer

from nfft.cli import finetune

pytestmark = pytest.mark.slow

ADAPTER = {"adapter_config.json", "adapter_model.safetensors", "config.json", "README.md"}
ASKED = ["finetune", "--task", "digits", "--method", "lora", "--set", "method.rank=2", "--steps", "3", "--lr", "0.5"]
ASKED += ["--precision", "fp32", "--set", "evaluations=1"]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def python(hub: HubServer, tmp_path: Path) -> Command:
    """Runs Python with these arguments, as someone who may write."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return processes.run(*arguments, cwd=tmp_path, env=hub.environment(WRITER))

    return call


@pytest.fixture
def nfft(python: Command) -> Command:
    return lambda *arguments: python("-m", "nfft", *arguments)


def succeed(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr


# Takes a run's folder, the repository that it was pushed to, and what the card says about peft.
LOAD = """
import sys, torch, nfft
folder, name, told = sys.argv[1:]
here, there = nfft.AutoNFNet.from_pretrained(folder), nfft.AutoNFNet.from_pretrained(name)
images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
said = {}
exec(told, said)
with torch.no_grad():
    wanted = here(images)
    assert torch.equal(there(images), wanted)
    assert torch.equal(said["model"](images), wanted)
    with said["model"].disable_adapter():
        assert not torch.equal(said["model"](images), wanted)
assert here.labels == there.labels == [str(digit) for digit in range(10)]
"""


def test_what_is_pushed_of_an_adapter(
    hub: HubServer, python: Command, nfft: Command, checkpoint: Path, tmp_path: Path
) -> None:
    hub.add("user/base", checkpoint)
    succeed(nfft(*ASKED, "--model", "user/base", "--output-dir", "run"))
    succeed(nfft("push", "run", "user/digits"))
    files = hub.files("user/digits")
    assert files.keys() >= ADAPTER
    assert files.keys() - ADAPTER <= {".gitattributes", "results.json", "run.json", "curves.png", "confusion.png"}
    assert files["adapter_model.safetensors"] == (tmp_path / "run" / "adapter_model.safetensors").read_bytes()
    assert str(tmp_path).encode() not in b"".join(files.values())
    own, pefts = (json.loads(files[name]) for name in ("config.json", "adapter_config.json"))
    assert own["nfft_adapter"]["base"] == pefts["base_model_name_or_path"] == "user/base"
    assert own["nfft_adapter"]["revision"] == pefts["revision"] == hub.commits("user/base")[0].oid

    card = files["README.md"].decode()
    head = yaml.safe_load(card.split("---\n")[1])
    assert (head["base_model"], head["base_model_relation"], head["library_name"]) == ("user/base", "adapter", "peft")
    (told,) = re.findall(r"```python\n(from peft.*?)```", card, re.DOTALL)
    succeed(python("-c", LOAD, "run", "user/digits", told))

    hub.repositories.pop("user/base")
    gone = nfft("predict", "--model", "user/digits", tmp_path)
    assert gone.returncode == 2 and "user/base is neither a folder here nor a model on the Hub" in gone.stderr


def test_an_adapter_of_a_folder_is_of_no_use_to_others(
    hub: HubServer, nfft: Command, checkpoint: Path, tmp_path: Path
) -> None:
    assert finetune.main([*ASKED[1:], "--model", str(checkpoint), "--output-dir", str(tmp_path / "run")]) == 0
    refused = nfft("push", "run", "user/digits")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert re.search("run is an adapter for .*net, a folder that is only here.*nfft merge run merged", refused.stderr)
    early = nfft(*ASKED, "--model", "net", "--output-dir", "other", "--push-to", "user/digits")
    assert early.returncode == 2 and "other is an adapter for" in early.stderr
    assert not (tmp_path / "other").exists(), "it is said before training"
    assert "user/digits" not in hub.repositories
