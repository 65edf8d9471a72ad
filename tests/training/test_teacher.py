"""A run learns from a teacher, on images without labels, too."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import noise
from processes import SCRIPT, torchrun
from safetensors.torch import load_file

import nfft
from nfft.cli import compare, finetune
from nfft.config.run_config import RunConfig
from nfft.experiments.cells import arguments, config_of
from nfft.models.build import build_network
from nfft.models.checkpoint import random_checkpoint
from nfft.models.saving import save_network
from nfft.models.transforms import squash_preprocessing
from nfft.training.preview import preview

pytestmark = pytest.mark.usefixtures("blank_pictures")
FEW = ["--model", "scratch:test_nfnet", "--batch-size", "4", "--set", "threads=1", "--set", "workers=0"]
FEW += ["--set", "task.test_fraction=0.25"]


@pytest.fixture
def photos(image_folder: Callable[..., Path]) -> Path:
    return image_folder()


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """Six pictures, in a folder and one below it."""
    folder = tmp_path / "more"
    (folder / "below").mkdir(parents=True)
    for row in range(6):
        noise(seed=100 + row).save((folder / "below" if row % 2 else folder) / f"{row}.png")
    (folder / "notes.txt").write_text("where they are from")
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return network_of(["bee", "ant"], tmp_path / "teacher")


def network_of(classes: list[str], folder: Path) -> Path:
    """A network that tells these classes apart, by chance."""
    source = random_checkpoint("test_nfnet", {})
    torch.manual_seed(1)
    network = build_network(source, classes, dropout=0, stochastic_depth=0)
    # Surer of it than a new classifier is.
    network.get_classifier().weight.data *= 100
    folder.mkdir()
    save_network(network, folder, checkpoint=source, classes=classes, preprocessing=squash_preprocessing(source, 32, 0))
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def said_of(capsys: pytest.CaptureFixture[str], *asked: object) -> str:
    """What a run says that is refused."""
    capsys.readouterr()
    assert finetune.main([*map(str, asked), "--steps", "1", *FEW]) == 2
    return capsys.readouterr().err


def test_a_run_with_images_without_labels(
    tmp_path: Path, photos: Path, more: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(photos / "ant" / "0.png", more / "too.png")
    shutil.copy(photos / "ant" / "1.png", more / "well.png")
    run = tmp_path / "run"
    asked = ["--task", str(photos), "--set", f"task.unlabelled={more}", "--teacher", str(teacher)]
    asked += ["--set", "task.leaks=drop", "--steps", "4", "--set", "evaluations=2", "--set", "mixup=0.2"]
    assert finetune.main([*asked, *FEW, "--output-dir", str(run)]) == 0
    said = capsys.readouterr().out
    record = json.loads((run / "run.json").read_text())
    assert record["data"]["unlabelled"] == {"folder": "more", "images": 6}
    assert record["teacher"] == {"name": "teacher", "fingerprint": record["teacher"]["fingerprint"]}
    assert str(tmp_path) not in (run / "run.json").read_text()
    settings = record["recipe"]["settings"]
    assert [settings[f"distill_{name}"] for name in ("weight", "temperature", "confidence")] == [0, 1, None]
    assert f"and 6 without labels from more, {6 / record['data']['train']:.3g} for each that has one" in said
    assert "teacher teacher, weights " in said and "1 file (unlabelled: .txt)" in said
    card = (run / "README.md").read_text()
    assert "6 images without labels" in card and "teacher" in card

    # The classes of the teacher are in another order, and its views its own.
    kept = load_file(run / "checkpoints" / "teacher.safetensors").popitem()[1].clone()
    pictures = sorted(more.rglob("?.png"))
    answers = nfft.AutoNFNet.from_pretrained(teacher).predict(pictures, top_k=2)
    for row, scores in zip(kept[-6:].softmax(1).tolist(), answers, strict=True):
        assert dict(zip(["ant", "bee"], row, strict=True)) == pytest.approx(
            {each["label"]: each["score"] for each in scores}, abs=1e-5
        )

    # Killed after the second step; what the teacher said is read, or asked for again where that is damaged.
    before = weights(run)
    for name in ("results.json", "model.safetensors"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints" / "step-00000004")
    state = run / "checkpoints" / "teacher.safetensors"
    state.write_bytes(state.read_bytes()[:-9])
    assert finetune.main([*asked, *FEW, "--output-dir", str(run), "--resume"]) == 0
    assert all(tensor.equal(before[name]) for name, tensor in weights(run).items())
    assert load_file(state).popitem()[1][-6:].equal(kept[-6:])

    noise(seed=200).save(more / "0.png")
    capsys.readouterr()
    assert finetune.main([*asked, *FEW, "--output-dir", str(run), "--resume"]) == 2
    assert "--resume: the pictures are not those" in capsys.readouterr().err


def test_without_a_folder_labels_are_mixed_with_what_the_teacher_says(
    tmp_path: Path, photos: Path, teacher: Path
) -> None:
    asked = [
        "--task",
        str(photos),
        *FEW,
        "--steps",
        "2",
        "--teacher",
        str(teacher),
        "--output-dir",
        str(tmp_path / "run"),
    ]
    assert finetune.main(asked) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["recipe"]["settings"]["distill_weight"] == 0.5 and "unlabelled" not in record["data"]
    kept = load_file(tmp_path / "run" / "checkpoints" / "teacher.safetensors").popitem()[1]
    assert kept.shape == (record["data"]["train"], 2) and kept.isfinite().all()
    assert "make up 0.5 of the targets" in (tmp_path / "run" / "README.md").read_text()


def test_images_of_test_and_validation_are_refused_by_their_content(
    tmp_path: Path, more: Path, teacher: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "split"
    for place, (split, name) in enumerate((s, n) for s in ("train", "val", "test") for n in ("ant", "bee")):
        (photos / split / name).mkdir(parents=True)
        for row in range(3):
            noise(seed=10 * place + row).save(photos / split / name / f"{row}.png")
    for place, copy in (("test/ant/0", "a"), ("test/bee/1", "b"), ("val/bee/2", "c"), ("train/ant/2", "d")):
        shutil.copy(photos / f"{place}.png", more / f"{copy}.png")
    asked = ["--task", photos, "--teacher", teacher, "--set", f"task.unlabelled={more}"]
    for leaks in ("warn", "refuse"):
        said = said_of(capsys, *asked, "--set", f"task.leaks={leaks}")
        assert "the unlabelled images have 2 of test and 1 of validation among them (" in said
        assert "a.png = test/ant/0.png" in said and "--set task.leaks=drop" in said
    run = nfft.fine_tune(
        photos, "scratch:test_nfnet", teacher=teacher, task_unlabelled=str(more), task_leaks="drop", total_steps=1,
        batch_size=4, output_dir=tmp_path / "run", threads=1, workers=0,
    )  # fmt: skip
    assert run.record.data.unlabelled.images == 6
    unused = {each.reason: each.count for each in run.record.data.unused}
    assert unused["unlabelled: also in test"] == 2 and unused["unlabelled: also in train"] == 1
    assert str(tmp_path) not in run.record.command

    said = said_of(capsys, "--task", photos, "--teacher", teacher, "--set", f"task.unlabelled={photos / 'train'}")
    assert "none is left to learn from" in said


def test_what_cannot_be_is_a_sentence(
    tmp_path: Path, photos: Path, more: Path, teacher: Path, csv_file: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refused(*asked: object) -> str:
        return said_of(capsys, "--task", photos, *asked)

    def without_labels(place: object) -> tuple[object, ...]:
        return "--teacher", teacher, "--set", f"task.unlabelled={place}"

    assert "need a teacher" in refused("--set", f"task.unlabelled={more}")
    assert "there is no such folder" in refused(*without_labels(tmp_path / "absent"))
    assert "it is a table" in refused(*without_labels(csv_file(label=["ant"])))
    (tmp_path / "empty").mkdir()
    assert "has no images. It holds no files." in refused(*without_labels(tmp_path / "empty"))
    assert "--teacher has no part in it" in refused("--teacher", teacher, "--method", "probe")
    assert "there are none" in refused("--teacher", teacher, "--set", "distill_confidence=0.9")
    assert "distill_weight has no part" in refused("--set", "distill_weight=0.5")
    assert "distill_weight must be at least 0 and at most 1" in refused("--set", "distill_weight=2")
    assert "it has no weights" in refused("--teacher", "scratch:test_nfnet")
    assert f"--teacher {tmp_path}/absent: there is no such folder" in refused("--teacher", tmp_path / "absent")
    other = network_of(["ant", "wasp"], tmp_path / "other")
    assert "it does not know bee" in refused("--teacher", other)
    larger = network_of(["ant", "bee", "wasp"], tmp_path / "larger")
    assert "it knows wasp as well" in refused("--teacher", larger)
    asked = ["--task", photos, "--methods", "probe,full", "--teacher", teacher, "--output-dir", tmp_path / "compare"]
    assert compare.main([*map(str, asked)]) == 2
    assert "--method probe learns from labels alone" in capsys.readouterr().err


def test_studies_pass_it_on() -> None:
    settings = {"task": "digits", "model": "nfnet-nano", "teacher": "runs/a", "task.unlabelled": "more"}
    assert list(arguments(settings, 0)[4:6]) == ["--teacher", "runs/a"]
    assert config_of(settings, 0).teacher == "runs/a"
    assert config_of(settings, 0).settings == {"task.unlabelled": "more"}


@pytest.mark.slow
def test_arrays_with_labels_and_files_without(tmp_path: Path, more: Path) -> None:
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (20, 8, 8, 3), np.uint8), ["ant", "bee"] * 10
    teacher = network_of(["ant", "bee"], tmp_path / "teacher")
    run = nfft.fine_tune(
        (images, labels), teacher, teacher=teacher, task_unlabelled=str(more), total_steps=2, batch_size=8,
        output_dir=tmp_path / "run", threads=1, workers=0, evaluations=1,
    )  # fmt: skip
    assert (run.record.data.train, run.record.data.unlabelled.images) == (18, 6)


def test_a_look_shows_images_without_labels(photos: Path, more: Path, teacher: Path) -> None:
    settings = {"task.unlabelled": str(more), "batch_size": 16, "total_steps": 1, "mixup": 1.0}
    config = RunConfig(task=str(photos), model="scratch:test_nfnet", teacher=str(teacher), settings=settings)
    plan, figure = preview(config, 16)
    captions = " ".join(axes.get_xlabel() for axes in figure.axes)
    assert len(plan.data.learned) == len(plan.data.train) + 6
    assert "no label" in captions and "ant" in captions


@pytest.mark.slow
@pytest.mark.parametrize("method", ["last-stages", "layer-decay", "head-and-gains", "lora"])
def test_methods_that_take_steps_learn_from_it(
    tmp_path: Path, photos: Path, more: Path, teacher: Path, method: str
) -> None:
    asked = ["--task", str(photos), "--set", f"task.unlabelled={more}", "--teacher", str(teacher), *FEW]
    asked += ["--model", str(network_of(["ant", "bee"], tmp_path / "start")), "--method", method, "--steps", "2"]
    assert finetune.main([*asked, "--output-dir", str(tmp_path / "run")]) == 0
    # An adapter, or any network, can be the next teacher.
    again = ["--task", str(photos), *FEW, "--steps", "1", "--teacher", str(tmp_path / "run")]
    assert finetune.main([*again, "--output-dir", str(tmp_path / "again")]) == 0


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, photos: Path, more: Path, teacher: Path) -> None:
    asked = ["--task", photos, "--set", f"task.unlabelled={more}", "--teacher", teacher, *FEW, "--steps", "6"]
    asked += ["--precision", "fp32", "--set", "mixup=0.2", "--set", "evaluations=1", "--set", "distill_weight=0.5"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert finetune.main([*map(str, asked), "--output-dir", str(one)]) == 0
    done = torchrun(SCRIPT, *asked, "--output-dir", two)
    assert done.returncode == 0, done.stderr
    alone, shared = weights(one), weights(two)
    for name, weight in alone.items():
        assert weight.sub(shared[name]).abs().max() < 1e-5, name
