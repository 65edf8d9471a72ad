"""`nfft soup`: the mean of runs is a run's folder again, or a sentence says why there is none."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import nfft
from nfft.cli import card, finetune, soup

pytestmark = pytest.mark.usefixtures("blank_pictures")

FEW = {"train_images": 200, "validation_fraction": 0.3, "test_fraction": 0.05}
SETTINGS = {"total_steps": 8, "batch_size": 16, "evaluations": 1, "train_resolution": 32, "test_resolution": 32}


def sibling(run: Path, folder: Path, seed: int, noise: float) -> Path:
    """A run like another, of another seed, whose weights lie near."""
    shutil.copytree(run, folder)
    draw = torch.Generator().manual_seed(seed)
    tensors = load_file(folder / "model.safetensors")
    moved = {
        name: t + noise * t.std(correction=0) * torch.randn(t.shape, generator=draw) for name, t in tensors.items()
    }
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder, "run.json", lambda content: content.update(seed=seed))
    change(folder, "results.json", lambda content: content.pop("files"))
    return folder


def change(folder: Path, file: str, how: Callable[[dict], Any]) -> None:
    content = json.loads((folder / file).read_text())
    how(content)
    (folder / file).write_text(json.dumps(content))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three runs, as `nfft compare` calls those of three seeds; the last has forgotten most."""
    folder = tmp_path_factory.mktemp("compared")
    task = {f"task_{name}": value for name, value in FEW.items()}
    first = nfft.fine_tune("digits", output_dir=folder / "full-0", threads=1, **SETTINGS, **task).folder
    sibling(first, folder / "full-1", 1, 0.1)
    sibling(first, folder / "full-2", 2, 3.0)
    return folder


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}


def test_a_soup_is_a_runs_folder(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "soup"
    assert soup.main([str(runs / "full"), "--output-dir", str(out)]) == 0
    said = capsys.readouterr().out
    assert "uniform soup" in said and f"written to  {out}/" in said
    members = [weights(runs / f"full-{seed}") for seed in (0, 1, 2)]
    for name, tensor in load_file(out / "model.safetensors").items():
        expected = np.mean([member[name] for member in members], axis=0)
        assert tensor.dtype == torch.float32
        np.testing.assert_array_equal(tensor.numpy(), expected.astype(np.float32), err_msg=name)

    made = nfft.Run(out)
    first = nfft.Run(runs / "full-0")
    assert made.record.decisive() == first.record.decisive() | {"precision": made.record.precision}
    assert made.record.command.startswith("nfft") and made.record.command != first.record.command
    record = made.results.soup
    assert (record.kind, record.share) == ("uniform", None)
    assert [(each.name, each.seed, each.kept) for each in record.members] == [(f"full-{n}", n, True) for n in range(3)]
    assert record.members[0].validation.top1 == pytest.approx(first.results.validation.top1, abs=0.02)
    assert made.results.training.steps == 24 and made.results.weights == "soup"
    assert made.results.candidates["soup"].top1 == made.results.validation.top1
    for scores in (made.results.validation, made.results.test):
        assert nfft.evaluate(out, "digits", scores.split, **FEW).scores.confusion == scores.confusion
    assert "The weights are a soup of 3 runs: the mean of theirs." in made.card and "curves.png" not in made.card
    before = made.card
    assert card.main([str(out)]) == 0 and (out / "README.md").read_text() == before
    assert {path.name for path in out.iterdir()} == {
        "config.json", "model.safetensors", "README.md", "results.json", "run.json", "skipped.jsonl", "confusion.png",
    }  # fmt: skip
    assert not [path.name for path in tmp_path.iterdir() if path.name != "soup"]


@pytest.mark.slow
def test_greedy_leaves_out_what_lowers_the_score(runs: Path, tmp_path: Path) -> None:
    made = nfft.soup([runs / "full-2", nfft.Run(runs / "full-1"), str(runs / "full-0")], tmp_path / "soup", "greedy")
    spoiled, *others = made.results.soup.members
    assert not spoiled.kept and any(each.kept for each in others)
    assert made.results.validation.top1 >= max(each.validation.top1 for each in made.results.soup.members)
    kept = [weights(runs / each.name) for each in others if each.kept]
    for name, tensor in load_file(tmp_path / "soup" / "model.safetensors").items():
        np.testing.assert_array_equal(tensor, np.mean([each[name] for each in kept], axis=0).astype(np.float32))
    assert made.record.command == "nfft.soup(['path/to/full-2', 'path/to/full-1', 'path/to/full-0'], kind='greedy')"


@pytest.mark.slow
def test_model_stock_lies_between_the_mean_and_the_pretrained_weights(runs: Path, tmp_path: Path) -> None:
    made = nfft.soup([runs / "full-0", runs / "full-1"], tmp_path / "soup", "stock")
    assert 0 < made.results.soup.share < 1
    found, one, two = (weights(folder) for folder in (made.folder, runs / "full-0", runs / "full-1"))
    start = weights(Path(nfft.__file__).parent / "pretrained" / "nfnet-nano")
    np.testing.assert_allclose(found["head.fc.weight"], (one["head.fc.weight"] + two["head.fc.weight"]) / 2, rtol=1e-6)
    layer = [f"stem.conv1.{part}" for part in ("weight", "gain", "bias") if f"stem.conv1.{part}" in start]
    changes = [np.concatenate([(each[name] - start[name]).ravel() for name in layer]) for each in (one, two)]
    cosine = changes[0] @ changes[1] / np.linalg.norm(changes[0]) / np.linalg.norm(changes[1])
    mean, share = np.mean(changes, axis=0), 2 * cosine / (1 + cosine)
    moved = np.concatenate([(found[name] - start[name]).ravel() for name in layer])
    np.testing.assert_allclose(moved, share * mean, rtol=1e-3, atol=1e-6)
    assert "Model Stock" in made.card


@pytest.mark.slow
def test_other_libraries_load_it(runs: Path, tmp_path: Path) -> None:
    import timm
    from transformers import AutoModelForImageClassification

    made = nfft.soup(runs / "full", tmp_path / "soup")
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = made.model(images)
        assert timm.create_model(f"local-dir:{made.folder}", pretrained=True).eval()(images).equal(wanted)
        by_transformers = AutoModelForImageClassification.from_pretrained(made.folder).eval()
        torch.testing.assert_close(by_transformers(images).logits, wanted, rtol=0, atol=1e-5)
    again = nfft.soup([made, runs / "full-0"], tmp_path / "of a soup")
    assert again.results.soup.members[0].name == "soup"


@pytest.mark.slow
def test_adapters_become_a_whole_network(tmp_path: Path, image_folder: Callable[..., Path]) -> None:
    photos = image_folder(images=12)
    asked = ["--task", str(photos), "--method", "lora", "--set", "method.rank=2", "--steps", "2", "--batch-size", "4"]
    asked += ["--set", "train_resolution=32", "--set", "test_resolution=32", "--set", "task.test_fraction=0.2"]
    for seed in ("0", "1"):
        assert finetune.main([*asked, "--seed", seed, "--output-dir", str(tmp_path / f"lora-{seed}")]) == 0
    with pytest.raises(nfft.UserError, match=r"trained on photos \(local files\), and do not say where"):
        nfft.soup(tmp_path / "lora", tmp_path / "soup")
    made = nfft.soup(tmp_path / "lora", tmp_path / "soup", task=photos)
    assert made.record.method.artifact == "network" and made.model.checkpoint.base is None
    parts = [nfft.AutoNFNet.from_pretrained(tmp_path / f"lora-{seed}").network.state_dict() for seed in (0, 1)]
    for name, tensor in made.model.network.state_dict().items():
        torch.testing.assert_close(tensor, (parts[0][name] + parts[1][name]) / 2)
    # What a comparison notes beside the folder says where the pictures are.
    (tmp_path / "lora-0.cell.json").write_text(json.dumps({"arguments": ["--task", str(photos)], "start": None}))
    again = nfft.soup(tmp_path / "lora", tmp_path / "again").results
    assert again.validation.confusion == made.results.validation.confusion


def other(field: str, value: object) -> Callable[[dict], None]:
    """A change of run.json: of the entry at a path with dots."""

    def changes(content: dict) -> None:
        *path, last = field.split(".")
        for name in path:
            content = content[name]
        content[last] = value

    return changes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (other("data.classes", list("012345678x")), r"full-0 and .*full-1 are of different classes \(0, 1, 2"),
        (other("model.architecture", "nf_resnet26"), r"different networks \(test_nfnet and nf_resnet26\)"),
        (other("model.fingerprint", "ab" * 32), r"different pre-trained weights \(\w{8} and abababab\)"),
        (other("model.fingerprint", None), "full-1 started from random weights"),
        (other("model.arguments", {"width_factor": 2}), "different arguments of the network"),
        (other("data.fingerprint", "cd" * 32), "different data"),
        (other("data.shots", 5), r"different shots \(None and 5\)"),
        (other("recipe.settings.test_resolution", 64), r"different test resolutions \(32 and 64\)"),
    ],
)
def test_runs_that_make_no_soup(runs: Path, tmp_path: Path, changes: Callable[[dict], None], says: str) -> None:
    for seed in (0, 1):
        shutil.copytree(runs / f"full-{seed}", tmp_path / f"full-{seed}")
    change(tmp_path / "full-1", "run.json", changes)
    for kind in ("uniform", "stock"):
        with pytest.raises(nfft.UserError, match=says):
            nfft.soup(tmp_path / "full", tmp_path / "soup", kind)
    assert not (tmp_path / "soup").exists()


def test_bad_input_is_a_sentence(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, taken = tmp_path / "soup", tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    unfinished = tmp_path / "half-0"
    shutil.copytree(runs / "full-0", unfinished)
    (unfinished / "results.json").unlink()
    three, one = str(runs / "full"), str(runs / "full-0")

    def refused(*arguments: str, to: Path = out) -> str:
        assert soup.main([*arguments, "--output-dir", str(to)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("nfft: ") and said.count("\n") == 1 and not out.exists()
        return said

    assert "a soup is of at least 2 runs; got 1" in refused(one)
    assert "full-0 is named twice" in refused(three, one)
    assert "there is no such run, nor none-0 and so on beside it" in refused(str(runs / "none"))
    assert "is not the folder of a run" in refused(str(runs))
    assert "the run in" in (said := refused(one, str(unfinished))) and "has not ended" in said
    assert "is there already" in refused(three, to=taken) and (taken / "notes.txt").is_file()
    assert "expected a setting of the task" in refused(three, "--set", "lr=0.1")
    assert "are not those that" in refused(three, "--set", "task.train_images=300")
    assert "unknown task 'none'" in refused(three, "--task", "none")
    assert "has others. Name them with --base" in refused(three, "--kind", "stock", "--base", one)
    with pytest.raises(SystemExit):
        soup.main([three, "--output-dir", str(out), "--kind", "thick"])
    with pytest.raises(nfft.UserError, match="unknown kind of soup 'thick'; did you mean"):
        nfft.soup(three, out, "thick")


def test_where_files_lie_is_not_executed(runs: Path, tmp_path: Path) -> None:
    """A run from elsewhere may name any file as its task."""
    for seed in (0, 1):
        shutil.copytree(runs / f"full-{seed}", tmp_path / f"full-{seed}")
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    for seed in (0, 1):
        change(tmp_path / f"full-{seed}", "run.json", other("task.name", "elsewhere"))
        change(tmp_path / f"full-{seed}", "run.json", other("command", f"nfft finetune --task {trap}"))
    with pytest.raises(nfft.UserError, match=r"trained on elsewhere .* Name it with --task"):
        nfft.soup(tmp_path / "full", tmp_path / "soup")
    assert not (tmp_path / "sprung").exists()
