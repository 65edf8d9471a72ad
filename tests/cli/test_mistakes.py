"""A mistake of the user's gives a line or two (expected, found, fix), exit status 2 and no traceback."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import processes
import pytest
from accelerate.state import AcceleratorState

from nfft.cli import finetune

pytestmark = pytest.mark.usefixtures("blank_pictures")

Complaint = Callable[..., str]


@pytest.fixture(autouse=True)
def new_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test starts as a process would: in an empty folder, without accelerate's shared state."""
    monkeypatch.chdir(tmp_path)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    """Runs the command, which must refuse, and returns what it says is wrong."""

    def run(*arguments: object, lines: int = 1) -> str:
        status = finetune.main(completed(*arguments))
        printed = capsys.readouterr().err
        said = printed[printed.index("nfft: ") :]
        assert status == 2
        assert "Traceback" not in printed
        assert len(said.splitlines()) == lines
        return said

    return run


def completed(*arguments: object) -> list[str]:
    """The arguments as text, with the digits and a small network where they name no others."""
    words = [str(argument) for argument in arguments]
    for option, value in (("--task", "digits"), ("--model", "scratch:test_nfnet")):
        if option not in words:
            words += [option, value]
    return words


# What is typed, and what is said about it.
ARGUMENTS = {
    # Names.
    "--task digit": r"unknown task 'digit'; did you mean 'digits'",
    "--model nfnet-nan": r"unknown model 'nfnet-nan'; did you mean 'nfnet-nano'\?",
    "--model scratch:test_nfnett": r"timm has no architecture 'test_nfnett'; did you mean 'test_nfnet'",
    "--model scratch:xyzzy": r"no architecture 'xyzzy'; known: .*, \.\.\. \(\d+ in all\)",
    "--recipe aut": r"unknown recipe 'aut'; did you mean 'auto'\?",
    "--set weight_decai=0": r"the recipe has no setting 'weight_decai'; did you mean 'weight_decay'",
    "--set task.labl=class": r"the task has no setting 'labl'; did you mean 'label'",
    "--set task.metric=top": r"unknown metric 'top'; did you mean 'top1'\?",
    # Values.
    "--set lr": r"--set takes NAME=VALUE; got 'lr'",
    "--model-arg width": r"--model-arg takes NAME=VALUE; got 'width'",
    "--lr fast": r"lr must be a number; got 'fast'",
    "--set batch_size=1.5": r"batch_size must be a whole number; got '1.5'",
    "--set flip=maybe": r"flip must be true or false; got 'maybe'",
    "--set mixup=much": r"mixup must be a number or none; got 'much'",
    "--set task.suggests=lr": r"suggests can be set only in a file",
    "--set dropout=1.5": r"dropout must be at least 0 and below 1; got 1.5. Change it with --set dropout=",
    "--set train_resolution=4": r"train_resolution must be at least 8 and at most 4096; got 4",
    "--steps 0": r"total_steps must be at least 1; got 0",
    "--set test_resolution=64 --set test_margin=129": r"leaves less than a third of an image.*test_margin=128 or less",
    "--epochs inf": r"epochs must be a finite number; got inf",
    "--lr nan": r"lr must be a finite number; got nan",
    "--seed -1": r"--seed must be between 0 and 4294967295; got -1",
    "--steps 2 --set epochs=3": r"exactly one of total_steps, epochs and minutes; got total_steps=2, epochs=3",
    "--set task.test_fraction=2": r"test_fraction must be between 0 and 1; got 2",
    "--set task.test_fraction=0.9": r"validation_fraction 0.15 and test_fraction 0.9 leave nothing to train on",
    # What does not go together.
    "--batch-size 5000": r"batch size 5000 is larger than the training split \(1259 images\). Use --batch-size",
    "--batch-size 7 --set accumulation_steps=2": r"7 does not divide into 2 equal parts.* Use --batch-size 6",
    "--set train_resolution=16": r"train_resolution=16 is too small for test_nfnet.* Use .*=32 or more",
    "--set test_resolution=16": r"test_resolution=16 is too small for test_nfnet.* Use .*=32 or more",
    "--model nfnet-nano --model-arg width=2": r"--model-arg goes with --model scratch:.*; nfnet-nano already has",
    # Networks.
    "--model-arg width=2": r"scratch:test_nfnet cannot be made: .*'width'. Check --model-arg",
    "--model-arg act_layer=step": r"scratch:test_nfnet cannot be made: .*\(step\). Check --model-arg",
    "--model-arg features_only=true": r"--model-arg features_only cannot be given: it does not describe a network",
    "--model scratch:vit_tiny_patch16_224": r"resolution=\d+ is none that vit_tiny_patch16_224 takes: .*\(224\)",
    "--model-arg in_chans=1": r"--model-arg in_chans=1 cannot be given: images are RGB",
    "--model scratch:levit_128s": r"expected a network with one linear classifier; levit_128s ends in tuple",
    # Places.
    "--task ./nowhere": r"--task ./nowhere: there is no such file or folder",
    "--task photos/": r"--task photos/: there is no such file or folder",
    "--task photos.csv": r"--task photos.csv: there is no such file or folder",
    "--task ~nobody-of-that-name/photos": r"there is no such home folder. Write the path in full",
    "--model ~nobody-of-that-name/net": r"there is no such home folder. Write the path in full",
    "--model ./nowhere": r"--model ./nowhere: there is no such folder",
    "--model runs/nowhere/": r"--model runs/nowhere/: there is no such folder",
    "--task user/insects": r"could not be reached for the dataset user/insects.*To work offline, give --task a",
    "--model user/net": r"could not be reached for the model user/net.*To work offline, give --model a",
    "--resume": r"--resume: there is no run in runs/digits-test_nfnet. Leave --resume out to start one",
}


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_arguments(complaint: Complaint, arguments: str) -> None:
    assert re.search(ARGUMENTS[arguments], complaint(*arguments.split()))


def test_fp16_on_a_cpu(complaint: Complaint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert re.search(r"fp16 needs a GPU.*Use --precision bf16 or fp32", complaint("--precision", "fp16"))


@pytest.mark.parametrize("way", ["FSDP", "DEEPSPEED"])
def test_ways_to_spread_a_network(complaint: Complaint, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{way}", "true")
    assert f"{way} of accelerate's config is not offered: AGC needs each unit" in complaint()


def test_a_precision_of_accelerates_alone(complaint: Complaint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    assert "mixed precision fp8 is not offered. Use --precision bf16, fp16 or fp32" in complaint()


class TestFolders:
    def test_without_images(self, complaint: Complaint, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        assert re.search(r"no images found in .*empty. Expected one folder a class", complaint("--task", "./empty"))
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "todo.txt").write_text("sort the photographs\n")
        assert re.search(r"no images found in .*notes. Expected one folder a class", complaint("--task", "./notes"))

    def test_without_classes(self, complaint: Complaint, image_folder) -> None:
        said = complaint("--task", image_folder(classes=["."]))
        assert re.search(
            r"at least two classes.*found one class \(photos\). Put each class in a folder of its own", said
        )

    def test_one_class(self, complaint: Complaint, image_folder) -> None:
        said = complaint("--task", image_folder(classes=["train/ant"]))
        assert re.search(r"at least two classes.*found one class \(ant\). Put each class in a folder of its own", said)

    def test_one_image_a_class(self, complaint: Complaint, image_folder) -> None:
        said = complaint("--task", image_folder(images=1), "--batch-size", 2)
        assert re.search(r"no class has an image to spare for the validation split. Add images, or name", said)

    def test_a_class_that_train_lacks(self, complaint: Complaint, image_folder) -> None:
        said = complaint("--task", image_folder(classes=["train/ant", "train/bee", "test/ant", "test/wasp"]))
        assert re.search(r"the test split has classes that train lacks \(wasp\). Add training images", said)

    def test_broken_images(self, complaint: Complaint, image_folder) -> None:
        folder = image_folder()
        (folder / "ant" / "0.png").write_bytes(b"")
        (folder / "bee" / "1.png").write_bytes((folder / "bee" / "2.png").read_bytes()[:200])
        said = complaint("--task", folder, lines=3)
        assert re.search(r"2 of 16 images cannot be read, more than max_broken_fraction \(0.01\) allows", said)
        assert re.search(r"ant/0.png: .*\n.*bee/1.png: .*truncated", said)

    def test_splits_and_columns_that_do_not_exist(self, complaint: Complaint, image_folder) -> None:
        folder = image_folder()
        for setting, message in (
            ("train=trian", r"has no split 'trian'; did you mean 'train'\? Set it with --set task.train="),
            ("image=imag", r"no column 'imag'; did you mean 'image'\?"),
            ("label=lable", r"no column 'lable'; did you mean 'label'\?"),
            ("image=label", r"column 'label' holds int64, not images or their paths"),
            ("label=image", r"column 'image' holds .*Image, not one class an image"),
        ):
            assert re.search(message, complaint("--task", folder, "--set", f"task.{setting}"))


class TestTables:
    def test_floating_point_labels(self, complaint: Complaint, csv_file) -> None:
        said = complaint("--task", csv_file(label=[0.5, 1.5, 0.5, 1.5]))
        assert re.search(
            r"labels in column 'label' are floating-point numbers; classes are whole numbers or text", said
        )

    def test_no_labels(self, complaint: Complaint, csv_file) -> None:
        said = complaint("--task", csv_file(colour=["red", "blue"]))
        assert re.search(r"no label column found among image, colour.* name it with --set task.label=", said)

    def test_a_row_without_a_label(self, complaint: Complaint, csv_file) -> None:
        said = complaint("--task", csv_file(label=["ant", "bee", "", "bee"]))
        assert re.search(r"row 2 has no label \(column 'label' is empty there\)", said)

    def test_one_class(self, complaint: Complaint, csv_file) -> None:
        said = complaint("--task", csv_file(label=["ant", "ant"]))
        assert re.search(r"expected images of at least two classes to train on, found one class \(ant\)", said)

    def test_images_that_are_not_there(self, complaint: Complaint, csv_file, tmp_path: Path) -> None:
        table = csv_file(label=["ant", "ant", "bee", "bee"])
        (tmp_path / "2.png").unlink()
        said = complaint("--task", table, lines=3)
        assert re.search(r"1 of 4 images cannot be read.*\n.*2.png: .*No such file", said)

    def test_not_a_table(self, complaint: Complaint, tmp_path: Path) -> None:
        (tmp_path / "table.parquet").write_text("no Parquet")
        assert re.search(r"the data of task table could not be read: .*Parquet", complaint("--task", "table.parquet"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", r"task.py must define TASK = Task\(...\); it does not. See tasks/digits.py"),
        ("1 / 0", r"task.py does not run: ZeroDivisionError: division by zero"),
        ("def (", r"task.py does not run: SyntaxError"),
        ("TASK = Task(nam='insects')", r"task.py does not run: TypeError: .*'nam'"),
        ("TASK = Task(name='insects', source=lambda: 1 / 0)", r"insects: its function .* fails: ZeroDivisionError"),
        (
            "TASK = Task(name='insects', source=dict)",
            r"must return image, label and names; it lacks image, label, names",
        ),
        (
            "TASK = Task(name='insects', source=lambda: {'image': [0, 0], 'label': [0], 'names': ['ant']})",
            r"expected one label an image, 2 in all; got labels of shape \(1,\)",
        ),
        (
            "TASK = Task(name='insects', source=lambda: {'image': [0, 0], 'label': [0, 9], 'names': ['ant']})",
            r"expected labels from 0 to 0, places in its list of names; got 9",
        ),
    ],
)
def test_task_files(complaint: Complaint, tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "task.py").write_text(f"from nfft import Task\n{code}\n")
    assert re.search(message, complaint("--task", "task.py"))


class TestModelFolders:
    def test_without_config(self, complaint: Complaint, checkpoint: Path) -> None:
        (checkpoint / "config.json").unlink()
        assert re.search(r"expected config.json and .*; config.json is missing", complaint("--model", checkpoint))

    def test_without_weights(self, complaint: Complaint, checkpoint: Path) -> None:
        (checkpoint / "model.safetensors").unlink()
        said = complaint("--model", checkpoint)
        assert re.search(r"expected config.json and model.safetensors.*; there are no weights", said)

    def test_with_a_pickle(self, complaint: Complaint, checkpoint: Path) -> None:
        (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
        said = complaint("--model", checkpoint)
        assert re.search(r"expected model.safetensors, found only pytorch_model.bin, a pickle.*Convert it", said)

    def test_with_damaged_weights(self, complaint: Complaint, checkpoint: Path) -> None:
        weights = checkpoint / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:500])
        assert re.search(
            r"model.safetensors is damaged \(.*header.*\)\. Fetch it again", complaint("--model", checkpoint)
        )

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"architecture": "test_resnet"}, r"net cannot be made: .*Check model_args in its config.json"),
            (
                {"architecture": "nf_resnet26"},
                r"the weights do not fit the network that config.json describes: .*and \d+ more",
            ),
            ({"architecture": "test_nfnett"}, r"timm has no architecture 'test_nfnett'; did you mean 'test_nfnet'"),
            ({"architecture": None}, r"config.json names no timm architecture; this is not a timm checkpoint"),
            ({"pretrained_cfg": {}}, r"expected three numbers as input_size in the pretrained_cfg.*found None"),
        ],
    )
    def test_with_another_config(
        self, complaint: Complaint, checkpoint: Path, changes: dict[str, Any], message: str
    ) -> None:
        config = json.loads((checkpoint / "config.json").read_text())
        (checkpoint / "config.json").write_text(json.dumps({**config, **changes}))
        assert re.search(message, complaint("--model", checkpoint))

    def test_with_an_argument(self, complaint: Complaint, checkpoint: Path) -> None:
        said = complaint("--model", checkpoint, "--model-arg", "width=2")
        assert re.search(r"--model-arg goes with --model scratch:.*net already has its weights", said)


class TestRunFolder:
    def test_below_a_file(self, complaint: Complaint, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        said = complaint("--output-dir", "file/run")
        assert re.search(r"run folder file/run cannot be made: .*file is a file. Choose another --output-dir", said)
        assert re.search(r"run folder file is a file. Choose another --output-dir", complaint("--output-dir", "file"))

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that even root cannot write to")
    def test_not_writable(self, complaint: Complaint) -> None:
        said = complaint("--output-dir", "/proc/nfft")
        assert re.search(r"run folder /proc/nfft cannot be made: .*. Choose another --output-dir", said)

    def test_not_empty(self, complaint: Complaint, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("")
        said = complaint("--output-dir", tmp_path)
        assert re.search(r"is not empty. .*choose another --output-dir", said)

    def test_of_another_run(self, complaint: Complaint, image_folder, tmp_path: Path) -> None:
        asked = ["--task", image_folder(), "--steps", 1, "--batch-size", 4, "--output-dir", "run"]
        assert finetune.main(completed(*asked)) == 0
        assert re.search(r"run already holds a run. Continue it with --resume, choose", complaint(*asked))
        said = complaint(*asked, "--resume", "--lr", 0.2, "--seed", 3)
        assert re.search(r"started with other settings: lr was 0.1, now 0.2; seed was 0, now 3. Use the same", said)
        (tmp_path / "run" / "run.json").write_text("{}")
        shutil.rmtree(tmp_path / "run" / "checkpoints")  # which have it too
        assert re.search(r"run.json is damaged or not a run's. Start anew", complaint(*asked, "--resume"))


def test_a_diverging_run_names_the_step_and_the_checkpoint(complaint: Complaint, image_folder) -> None:
    asked = ["--task", image_folder(), "--steps", 20, "--batch-size", 4, "--output-dir", "run"]
    said = complaint(*asked, "--lr", 1e6, "--set", "clipping=none", "--set", "evaluations=20")
    assert re.search(
        r"(the loss at|the validation loss after|a gradient at) step \d+ is (nan|inf): training diverged", said
    )
    assert re.search(r"Lower --lr \(now 1e\+06\) or clip gradients with --set clipping=0.01\.", said)
    assert re.search(r"checkpoint is run/checkpoints/step-\d+", said)


@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_process_shows_the_traceback_only_when_asked(debug: str) -> None:
    run = processes.run("-m", "nfft.finetune", "--task", "digit", env={**os.environ, "NFFT_DEBUG": debug})
    assert "did you mean 'digits'" in run.stderr
    assert ("Traceback" in run.stderr) == (debug == "1")
    assert run.returncode == (1 if debug == "1" else 2)
