"""A run is pushed as one commit, once; whatever fails on the way is a sentence, and nothing is lost."""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import processes
import pytest
from hub_repository import Proposal
from hub_server import READER, WRITER, HubServer

from nfft.cli import finetune
from nfft.errors import UserError
from nfft.reporting.publish import push_run
from nfft.runs.folder import read_results, write_results

SHARED = {"config.json", "model.safetensors", "README.md", "results.json", "run.json", "curves.png", "confusion.png"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    asked = ["--task", "digits", "--model", "scratch:test_nfnet", "--steps", "2", "--set", "evaluations=1"]
    assert finetune.main([*asked, "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to push and to spoil."""
    import shutil

    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def nfft(hub: HubServer, tmp_path: Path) -> Command:
    """Runs `nfft ...` in a process of its own, as someone who may write unless told otherwise."""

    def call(*arguments: object, token: str = WRITER) -> subprocess.CompletedProcess[str]:
        return processes.run("-m", "nfft", *arguments, cwd=tmp_path, env=hub.environment(token))

    return call


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert not any(token in done.stdout + done.stderr for token in (WRITER, READER))
    *_, last = done.stderr.splitlines()
    assert last.startswith("nfft: ")
    return last


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_one_commit_with_all_that_is_shared_and_nothing_else(hub: HubServer, nfft: Command, run: Path) -> None:
    done = nfft("push", run, "user/digits", "--private")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"pushed to +{hub.endpoint}/user/digits/commit/\w+", done.stdout)
    files = hub.files("user/digits")
    assert files.keys() - {".gitattributes"} == SHARED
    assert len([each for each in hub.commits("user/digits") if each.files.keys() & SHARED]) == 1
    assert hub.repositories["user/digits"].private
    assert files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    card = files["README.md"].decode()
    assert 'AutoNFNet.from_pretrained("user/digits")' in card and "hf-hub:user/digits" in card
    everything = b"".join(files.values())
    assert WRITER.encode() not in everything and str(run.parent).encode() not in everything
    assert json.loads((run / "pushed.json").read_text())["repository"] == "user/digits"


@pytest.mark.slow
def test_a_network_of_another_kind_that_was_there_goes(
    hub: HubServer, nfft: Command, run: Path, tmp_path: Path
) -> None:
    assert nfft("push", run, "user/digits").returncode == 0
    adapter = tmp_path / "adapter"
    asked = ["finetune", "--task", "digits", "--method", "lora", "--steps", "2", "--batch-size", "16"]
    asked += ["--set", "evaluations=1", "--set", "train_resolution=32", "--set", "test_resolution=32"]
    assert nfft(*asked, "--output-dir", adapter).returncode == 0
    # Its card is another's, which one must have seen.
    (adapter / "README.md").write_bytes(hub.files("user/digits")["README.md"])
    assert nfft("push", adapter, "user/digits").returncode == 0
    files = hub.files("user/digits")
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    (run / "README.md").write_bytes(files["README.md"])
    assert nfft("push", run, "user/digits").returncode == 0
    files = hub.files("user/digits")
    assert "model.safetensors" in files and not any(name.startswith("adapter") for name in files)


def test_a_run_goes_to_several_places_and_back(hub: HubServer, nfft: Command, run: Path) -> None:
    for repository in ("user/one", "user/two", "user/one"):
        done = nfft("push", run, repository)
        assert done.returncode == 0, done.stderr
        assert f"hf-hub:{repository}" in hub.files(repository)["README.md"].decode()


def test_pushed_again_only_what_has_changed_is_sent(hub: HubServer, nfft: Command, run: Path) -> None:
    assert nfft("push", run, "user/digits").returncode == 0
    hub.uploads.clear()
    before = len(hub.commits("user/digits"))
    again = nfft("push", run, "user/digits")
    assert again.returncode == 0 and again.stderr == ""
    assert hub.uploads == [] and len(hub.commits("user/digits")) == before

    readme = run / "README.md"
    readme.write_text(readme.read_text() + "\n## My own words\n\nThey stay.\n")
    assert nfft("push", run, "user/digits").returncode == 0
    assert [path for path, _ in hub.uploads] == ["README.md"]
    assert "They stay." in hub.files("user/digits")["README.md"].decode()


def test_a_large_network(hub: HubServer, nfft: Command, run: Path) -> None:
    large = os.urandom(12 << 20)
    (run / "model.safetensors").write_bytes(large)
    results = read_results(run)
    write_results(run, replace(results, files={"model.safetensors": hashlib.sha256(large).hexdigest()}))
    hub.cut_upload(after=5 << 20, times=1)
    assert nfft("push", run, "user/large").returncode == 0, "the client takes it up where it was cut"
    assert hub.files("user/large")["model.safetensors"] == large


def test_words_written_on_the_hub_are_not_lost(hub: HubServer, nfft: Command, run: Path, tmp_path: Path) -> None:
    assert nfft("push", run, "user/digits").returncode == 0
    edited = hub.files("user/digits")["README.md"].decode() + "\n## Written on the Hub\n\nKeep me.\n"
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "README.md").write_text(edited)
    hub.add("user/digits", tmp_path / "there")
    said = complaint(nfft("push", run, "user/digits"))
    assert "has a card that was changed there" in said and f"Save it as {run / 'README.md'}" in said
    assert hub.files("user/digits")["README.md"].decode() == edited
    (run / "README.md").write_text(edited)
    assert nfft("push", run, "user/digits").returncode == 0
    assert "Keep me." in hub.files("user/digits")["README.md"].decode()


def test_a_push_whose_answer_is_lost_is_known_by_the_next(hub: HubServer, nfft: Command, run: Path) -> None:
    hub.cut_download(after=0, matching="POST .*/commit/", times=99)
    assert "could not be reached" in complaint(nfft("push", run, "user/digits"))
    assert "model.safetensors" in hub.files("user/digits"), "it was there already when the answer was lost"
    hub.mend()
    there = hub.commits("user/digits")
    # The card is another one by now.
    (run / "README.md").write_text((run / "README.md").read_text() + "\n## My own words\n\nThey stay.\n")
    done = nfft("push", run, "user/digits")
    assert done.returncode == 0, done.stderr
    assert "They stay." in hub.files("user/digits")["README.md"].decode()
    assert len(hub.commits("user/digits")) == len(there) + 1


def test_a_proposal_whose_answer_is_lost_is_known_by_the_next(hub: HubServer, nfft: Command, run: Path) -> None:
    others = hub.add("user/digits").proposals
    for number in range(1, 13):  # more than the Hub lists at once
        others.append(Proposal(number, "Another's", "stranger"))
        hub.repositories["user/digits"].commit(f"refs/pr/{number}", hub.commits("user/digits")[0])
    hub.cut_download(after=0, matching="POST .*/commit/", times=99)
    assert "could not be reached" in complaint(nfft("push", run, "user/digits", "--create-pr"))
    hub.mend()
    assert "model.safetensors" in hub.files("user/digits", "refs/pr/13"), "it was there already"
    assert len(others) == 13
    there = hub.commits("user/digits", "refs/pr/13")
    others.append(Proposal(14, "Another's", "stranger"))
    hub.repositories["user/digits"].commit("refs/pr/14", hub.commits("user/digits")[0])

    done = nfft("push", run, "user/digits", "--create-pr")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"pushed to +{hub.endpoint}/user/digits/discussions/13: the proposal of an earlier", done.stdout)
    assert len(others) == 14 and hub.commits("user/digits", "refs/pr/13") == there, "nothing had to be sent"
    assert "model.safetensors" not in hub.files("user/digits")
    assert json.loads((run / "pushed.json").read_text())["proposed"] == {}
    assert nfft("push", run, "user/digits", "--create-pr").returncode == 0
    assert len(others) == 15, "that is another one, as it was asked for"


def test_what_has_changed_since_goes_into_the_proposal(hub: HubServer, nfft: Command, run: Path) -> None:
    proposals = hub.add("team/digits").proposals
    hub.users[WRITER] = replace(hub.users[WRITER], namespaces=("user",))  # who proposes has no say there
    hub.cut_download(after=0, matching="POST .*/commit/", times=99)
    assert nfft("push", run, "team/digits", "--create-pr").returncode == 2
    (run / "README.md").write_text((run / "README.md").read_text() + "\n## My own words\n\nThey stay.\n")
    assert nfft("push", run, "team/digits", "--create-pr").returncode == 2, "lost once more"
    assert len(proposals) == 1
    hub.mend()
    hub.uploads.clear()
    assert nfft("push", run, "team/digits", "--create-pr").returncode == 0
    assert len(proposals) == 1 and hub.uploads == [], "what was lost twice was there already"
    assert "They stay." in hub.files("team/digits", "refs/pr/1")["README.md"].decode()


@pytest.mark.slow
def test_a_proposal_that_was_closed_or_never_made_is_made(hub: HubServer, nfft: Command, run: Path) -> None:
    proposals = hub.add("user/digits").proposals
    hub.cut_upload(after=100, matching="POST .*/commit/", times=99)
    assert nfft("push", run, "user/digits", "--create-pr").returncode == 2
    assert proposals == []
    hub.mend()
    hub.cut_download(after=0, matching="POST .*/commit/", times=99)
    assert nfft("push", run, "user/digits", "--create-pr").returncode == 2
    hub.mend()
    proposals[0].status = "closed"
    done = nfft("push", run, "user/digits", "--create-pr")
    assert done.returncode == 0 and done.stdout.rstrip().endswith("/discussions/2")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret.png"
    file.write_bytes(b"a secret")
    return file


@pytest.mark.parametrize("name", ["confusion.png", "README.md", "config.json", "model.safetensors", "run.json"])
def test_a_link_is_not_followed(run: Path, secret: Path, name: str) -> None:
    (run / name).unlink()
    (run / name).symlink_to(secret)
    with pytest.raises(UserError, match=re.escape(f"{run / name} is a link, and a push sends what the run wrote")):
        push_run(run, "user/digits", private=None, revision=None, create_pr=False)


def test_nothing_foreign_is_sent(run: Path, secret: Path) -> None:
    def refused(place: Path, what: str) -> None:
        with pytest.raises(UserError, match=f"^{re.escape(f'{place} is {what}')}.* Move it away, and push again"):
            push_run(run, "user/digits", private=None, revision=None, create_pr=False)

    (run / ".eval_results").mkdir()
    (run / ".eval_results" / "other.yaml").write_text("- secret: 1\n")
    refused(run / ".eval_results" / "other.yaml", "nothing that a run writes")
    (run / ".eval_results" / "other.yaml").unlink()
    (run / ".eval_results" / "nfft.yaml").symlink_to(secret)
    refused(run / ".eval_results" / "nfft.yaml", "a link")
    (run / ".eval_results" / "nfft.yaml").unlink()
    (run / ".eval_results").rmdir()
    (run / ".eval_results").symlink_to(secret.parent)
    refused(run / ".eval_results", "a link")
    (run / ".eval_results").unlink()
    (run / "curves.png").unlink()
    os.mkfifo(run / "curves.png")
    refused(run / "curves.png", "no file")
    (run / "curves.png").unlink()
    (run / "curves.png").write_bytes(secret.read_bytes())
    refused(run / "curves.png", "no picture that a run draws")
    (run / "curves.png").write_bytes((run / "confusion.png").read_bytes())
    refused(run / "curves.png", "not what the run wrote there")


def test_to_a_branch_and_as_a_proposal(hub: HubServer, nfft: Command, run: Path) -> None:
    assert nfft("push", run, "user/digits", "--revision", "trial").returncode == 0
    assert "model.safetensors" in hub.files("user/digits", "trial")
    assert "model.safetensors" not in hub.files("user/digits", "main")
    done = nfft("push", run, "user/digits", "--create-pr")
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in hub.files("user/digits", "refs/pr/1")
    assert "model.safetensors" not in hub.files("user/digits", "main")


@pytest.mark.parametrize(
    ("spoil", "token", "sentence"),
    [
        (lambda hub: hub.stop(), WRITER, "the Hub could not be reached"),
        (lambda hub: hub.fail(500, times=99), WRITER, r"the Hub has trouble of its own \(status 500\)"),
        (lambda hub: hub.fail(429, times=99, retry_after=0), WRITER, "too many requests"),
        (lambda hub: hub.fail(409, times=99, matching="/commit/"), WRITER, "changed by someone else"),
        (
            lambda hub: hub.fail(413, times=99, matching="/commit/"),
            WRITER,
            r"refused what was asked of it.*\(status 413\)",
        ),
        (lambda hub: None, READER, "your token may not do this with user/digits"),
        (lambda hub: None, "hf_wrong", "does not accept your token"),
        (lambda hub: None, "", "nobody is logged in|does not accept your token"),
    ],
    ids=["down", "500", "429", "409", "413", "read-only token", "wrong token", "no token"],
)
def test_what_fails_is_a_sentence_and_loses_nothing(
    hub: HubServer, nfft: Command, run: Path, spoil: Callable[[HubServer], None], token: str, sentence: str
) -> None:
    networks = (run / "model.safetensors").read_bytes()
    card = run / "README.md"
    card.write_text(card.read_text().replace(", fine-tuned", ", carefully fine-tuned"))
    before = {path.name: path.read_bytes() for path in run.glob("README*")}
    spoil(hub)
    said = complaint(nfft("push", run, "user/digits", "--private", token=token))
    assert re.search(sentence, said)
    assert f"Nothing is lost: the run is whole in {run}" in said
    assert said.endswith(f"To push it later: nfft push {run} user/digits --private")
    assert (run / "model.safetensors").read_bytes() == networks
    assert not (run / "pushed.json").exists(), "it is not there yet"
    assert {path.name: path.read_bytes() for path in run.glob("README*")} == before, "as it was edited, and no copies"
    assert {path.name for path in run.iterdir()} >= SHARED


def test_a_connection_that_is_cut_in_an_upload(hub: HubServer, nfft: Command, run: Path) -> None:
    hub.cut_upload(after=1000, times=99)
    said = complaint(nfft("push", run, "user/digits"))
    assert "could not be reached" in said and "To push it later" in said
    hub.mend()
    assert nfft("push", run, "user/digits").returncode == 0
    assert hub.files("user/digits")["model.safetensors"] == (run / "model.safetensors").read_bytes()


def test_what_cannot_be_pushed(nfft: Command, run: Path, tmp_path: Path) -> None:
    assert "expected user/name" in complaint(nfft("push", run, "no name/of a/repository"))
    assert "expected user/name" in complaint(nfft("push", run, "../../etc"))
    said = complaint(nfft("push", run, "user/x", "--revision", "trial", "--create-pr"))
    assert said == "nfft: the Hub takes proposals only for the main branch: leave out the revision, or the proposal."
    (tmp_path / "empty").mkdir()
    assert "has no run.json: expected the folder of a run" in complaint(nfft("push", tmp_path / "empty", "user/x"))
    (run / "results.json").unlink()
    assert "has no results.json: the run has not ended" in complaint(nfft("push", run, "user/x"))


def test_at_the_end_of_a_run(hub: HubServer, nfft: Command) -> None:
    asked = ["finetune", "--task", "digits", "--model", "scratch:test_nfnet", "--steps", "2", "--set", "evaluations=1"]
    done = nfft(*asked, "--output-dir", "first", "--push-to", "user/first")
    assert done.returncode == 0, done.stderr
    assert "pushed to" in done.stdout and "model.safetensors" in hub.files("user/first")

    hub.stop()
    done = nfft(*asked, "--output-dir", "second", "--push-to", "user/second", token="")
    assert "nobody is logged in to the Hub here: run `hf auth login` before the run ends" in done.stdout
    assert complaint(done).endswith("To push it later: nfft push second user/second")
    assert "test        top-1" in done.stdout
    assert "expected user/name" in complaint(nfft(*asked, "--output-dir", "third", "--push-to", "third"))


LOAD = """
import sys, torch, timm, nfft
from transformers import AutoModelForImageClassification, pipeline
name, photo, commit = sys.argv[1:]
mine = nfft.AutoNFNet.from_pretrained(name)
images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    wanted = mine(images)
    by_timm = timm.create_model(f"hf-hub:{name}", pretrained=True).eval()
    assert torch.equal(by_timm(images), wanted)
    assert (AutoModelForImageClassification.from_pretrained(name).eval()(images).logits - wanted).abs().max() < 1e-6
best = pipeline("image-classification", model=name)(photo, top_k=1)[0]
found = mine.predict(photo, top_k=1)[0]
assert best["label"] == found["label"] and abs(best["score"] - found["score"]) < 1e-5
pinned = nfft.AutoNFNet.from_pretrained(name, revision=commit)
assert torch.equal(pinned(images), wanted)
address = mine.push_to_hub("user/copy", private=True)
assert "/user/copy/commit/" in address, address
assert torch.equal(nfft.AutoNFNet.from_pretrained("user/copy")(images), wanted)
assert mine.push_to_hub("user/copy") == address, "nothing is new"
mine.push_to_hub(name)
"""


def test_what_is_pushed_loads_in_three_libraries(hub: HubServer, nfft: Command, run: Path, tmp_path: Path) -> None:
    from PIL import Image

    assert nfft("push", run, "user/digits", "--private").returncode == 0
    Image.radial_gradient("L").convert("RGB").save(tmp_path / "photo.png")
    commit, card = hub.commits("user/digits")[0].oid, hub.files("user/digits")["README.md"]
    done = processes.run("-c", LOAD, "user/digits", tmp_path / "photo.png", commit, env=hub.environment(WRITER))
    assert done.returncode == 0, done.stderr
    assert hub.repositories["user/copy"].private
    assert b"AutoNFNet.from_pretrained" in hub.files("user/copy")["README.md"]
    assert hub.files("user/digits")["README.md"] == card, "a run's card is not replaced by a lesser one"
