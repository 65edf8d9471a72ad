"""In process: the same checks, folder and bits as the command, and nothing printed."""

import json
import threading
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import nfft
from nfft.cli import finetune
from nfft.runs.records import Results, RunRecord

pytestmark = pytest.mark.usefixtures("blank_pictures")

SETTINGS = {"total_steps": 3, "batch_size": 16, "evaluations": 1, "train_resolution": 32, "test_resolution": 32}
FEW = {"task_train_images": 200, "task_validation_fraction": 0.05, "task_test_fraction": 0.05}


PIXELS = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
INSECTS = ["ant", "bee"] * 20


def run(folder: Path, **changes: object) -> nfft.Run:
    return nfft.fine_tune("digits", output_dir=folder, **(SETTINGS | FEW | changes))


def test_it_is_the_command_to_the_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "call", seed=3)
    assert capsys.readouterr().out == ""
    settings = {name.replace("task_", "task.", 1): value for name, value in (SETTINGS | FEW).items()}
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    assert finetune.main(["--task", "digits", "--seed", "3", *words, "--output-dir", str(tmp_path / "command")]) == 0
    files = [{path.name for path in (tmp_path / name).iterdir()} for name in ("call", "command")]
    assert files[0] == files[1]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("call", "command"))
    assert one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)
    records = [nfft.Run(tmp_path / name).record for name in ("call", "command")]
    assert records[0].decisive() == records[1].decisive()
    assert records[0].command == (
        "nfft.fine_tune('digits', model='nfnet-nano', seed=3, total_steps=3, batch_size=16, evaluations=1, "
        "train_resolution=32, test_resolution=32, task_train_images=200, task_validation_fraction=0.05, "
        "task_test_fraction=0.05)"
    )


def test_what_a_run_is_afterwards(tmp_path: Path) -> None:
    run(tmp_path / "run")
    finished = nfft.Run(tmp_path / "run")
    assert isinstance(finished.record, RunRecord) and isinstance(finished.results, Results)
    assert finished.results.quoted.split == "test"
    assert finished.card.startswith("---\n")
    (best,) = finished.model.predict(Image.new("RGB", (40, 40)), top_k=1)
    assert best["label"] in [str(digit) for digit in range(10)]
    assert str(tmp_path / "run") in repr(finished)


@pytest.mark.parametrize(
    ("settings", "scored"),
    [
        ({}, ["ema", "ema", "raw ema"]),
        ({"ema_warmup": False}, ["raw", "raw", "raw ema"]),
    ],
)
def test_which_weights_are_scored_when(tmp_path: Path, settings: dict, scored: list[str]) -> None:
    finished = run(tmp_path / "run", evaluations=3, **settings)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    by_step = [
        [line["weights"] for line in lines if line["kind"] == "validation" and line["step"] == step]
        for step in (1, 2, 3)
    ]
    assert [" ".join(names) for names in by_step] == scored
    assert " ".join(finished.results.candidates) == scored[-1]


def test_settings_of_the_task_and_the_method(tmp_path: Path) -> None:
    finished = nfft.fine_tune(
        "digits",
        method="lora",
        output_dir=tmp_path / "run",
        method_rank=2,
        **(SETTINGS | FEW),
    )
    assert finished.record.method.settings["rank"] == 2
    assert finished.record.data.train <= 201


@pytest.mark.parametrize("kind", ["arrays", "dataset", "task"])
def test_data_in_memory(tmp_path: Path, kind: str) -> None:
    columns = {"image": [Image.fromarray(image) for image in PIXELS], "label": INSECTS}
    rows = {"image": PIXELS, "label": [0, 1] * 20, "names": INSECTS[:2]}
    data = {
        "arrays": (PIXELS, INSECTS),
        "dataset": datasets.Dataset.from_dict(columns),
        "task": nfft.Task(name="insects", source=lambda: rows),
    }[kind]
    settings = {**SETTINGS, "output_dir": tmp_path / "run", "task_test_fraction": 0.2}
    finished = nfft.fine_tune(data, **settings)
    assert finished.record.data.classes == ("ant", "bee")
    assert (finished.record.data.train, finished.record.data.validation, finished.record.data.test) == (28, 4, 8)
    again = nfft.fine_tune(data, **settings, resume=True)
    assert again.results.quoted.confusion == finished.results.quoted.confusion


def test_one_process_trains_twice_in_other_precisions(tmp_path: Path) -> None:
    for precision in ("fp32", "bf16", "fp32"):
        folder = tmp_path / f"{precision}-{len(list(tmp_path.iterdir()))}"
        finished = nfft.fine_tune((PIXELS, INSECTS), output_dir=folder, precision=precision, **SETTINGS)
        assert finished.record.precision == precision


def test_it_trains_in_a_thread_and_is_taken_up(tmp_path: Path) -> None:
    thread = threading.Thread(target=lambda: run(tmp_path / "run", total_steps=2))
    thread.start()
    thread.join()
    assert run(tmp_path / "run", total_steps=2, resume=True).results.training.steps == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": "fast"}, "lr must be a number; got 'fast'"),
        ({"lr": True}, "lr must be a number; got True"),
        ({"batch_size": 2.5}, "batch_size must be a whole number; got 2.5"),
        ({"learning_rate": 0.1}, "the recipe has no setting 'learning_rate'"),
        ({"method_rank": 2}, "the method has no setting 'rank'"),
        ({"task_lable": "a"}, "the task has no setting 'lable'; did you mean 'label'"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"recipe": "atuo"}, "unknown recipe 'atuo'; did you mean 'auto'"),
        ({"model": "nfnet-nanno"}, "unknown model 'nfnet-nanno'"),
        ({"seed": -1}, "--seed must be between 0 and 4294967295; got -1"),
    ],
    ids=str,
)
def test_mistakes_are_the_commands_sentences(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(nfft.UserError, match=message.replace("'", ".")):
        run(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(nfft.UserError, match="is not empty"):
        run(tmp_path)
    assert json.dumps([path.name for path in tmp_path.iterdir()]) == '["mine.txt"]'
