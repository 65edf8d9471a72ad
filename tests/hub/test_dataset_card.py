"""The card of a data set names files of its repository: with any other, nothing is fetched and nothing is opened."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import HubServer
from pictures import noise
from processes import run

from nfft.config.task import Task
from nfft.data.sources.base import Opened
from nfft.data.sources.dataset import open_repository
from nfft.data.sources.listing import list_folder
from nfft.errors import UserError
from nfft.hub.dataset_card import check_card

OUTSIDE = (
    "https://example.org/data.csv", "zip://a.jpg::https://example.org/a.zip", "hf://datasets/other/data/*.parquet",
    "/etc/passwd", "../other/*.png", "data/../../x.csv", "~/x.csv", "C:\\x.csv", "..", "file:///etc/passwd",
)  # fmt: skip


def folder_with(tmp_path: Path, name: str = "README.md", **config: Any) -> Path:
    (tmp_path / "data" / "train" / "ant").mkdir(parents=True)
    noise().save(tmp_path / "data" / "train" / "ant" / "0.png")
    head = yaml.safe_dump({"configs": [{"config_name": "default", **config}]})
    (tmp_path / name).write_text(f"---\n{head}---\n" if name == "README.md" else head)
    return tmp_path


def open_folder(folder: Path) -> Opened:
    return open_repository(Task(name="x", source=str(folder)), str(folder), list_folder(folder))


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_lies_outside_the_repository_is_refused(tmp_path: Path, name: str) -> None:
    for number, files in enumerate((name, ["data/*.png", name], [{"split": "train", "path": ["data/*", name]}])):
        folder = folder_with(tmp_path / str(number), data_files=files)
        with pytest.raises(UserError, match="among its files, which lies outside its repository"):
            open_folder(folder)


def test_the_file_beside_the_card_is_heeded_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="among its files, which lies outside its repository"):
        check_card(str(folder_with(tmp_path, ".huggingface.yaml", data_files=OUTSIDE[0])))


def test_a_folder_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"names '\.\./other' among its files"):
        check_card(str(folder_with(tmp_path, data_dir="../other")))


def test_its_own_files_are_read(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, data_files=[{"split": "train", "path": "data/train/**"}])
    assert len(open_folder(folder).tables["train"]) == 1


@pytest.mark.parametrize("head", ["{", "- a", "configs: 3", "configs: [3]", "configs: [{data_files: 3}]", "[" * 5000])
def test_a_head_of_another_form_is_a_sentence_or_none(tmp_path: Path, head: str) -> None:
    folder = folder_with(tmp_path)
    (folder / "README.md").write_text(f"---\n{head}\n---\n")
    try:
        open_folder(folder)
    except UserError as error:
        assert "\n" not in str(error)


LOOK = """
import sys
from nfft.data.sources.dataset import open_dataset
from nfft import Task
from nfft.errors import UserError
for name in sys.argv[1:]:
    try:
        print(len(open_dataset(Task(name=name, source=f"user/{name}")).tables["train"]))
    except UserError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_card_on_the_hub_makes_the_client_ask_for_nothing_else(tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.add("datasets/user/secret", folder_with(tmp_path / "secret"))
        address = f"{hub.endpoint}/datasets/user/secret/resolve/main/data/train/ant/0.png"
        hub.add("datasets/user/bad", folder_with(tmp_path / "bad", data_files=address))
        hub.add("datasets/user/good", folder_with(tmp_path / "good", data_files="data/train/**"))
        done = run("-c", LOOK, "bad", "good", env=hub.environment())
    assert done.returncode == 0, done.stderr
    bad, good = done.stdout.splitlines()
    assert "the card of the data set user/bad names" in bad and good == "1"
    assert not any("secret" in request for request in hub.requests)


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_waited_for_no_longer_than_its_client_would(tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.add("datasets/user/good", folder_with(tmp_path / "good", data_files="data/train/**"))
        environment = {**hub.environment(), "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        assert run("-c", LOOK, "good", env=environment).stdout == "1\n"
        hub.requests.clear()
        hub.be_silent(times=math.inf)
        done = run("-c", LOOK, "good", "other", env=environment)
    assert done.returncode == 0, done.stderr
    cached, said = done.stdout.splitlines()
    assert cached == "1" and said.startswith("the Hub could not be reached for the dataset user/other, which is not")
    # Once for each: what it might say later has not been looked at.
    assert [request.split("/")[-1] for request in hub.requests] == ["README.md"] * 2
