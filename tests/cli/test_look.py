"""`nfft look` in real processes: the sheet of images is there, the same each time, and mistakes are said."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfft.cli import look

MIXED = ["--task", "digits", "--set", "mixup=0.2", "--set", "cutmix=true", "--images", "6"]


def sheet(folder: Path, *arguments: str, name: str = "sheet.png") -> Path:
    """What `arguments` draw, in this process."""
    assert look.main([*arguments, "--output", str(folder / name)]) == 0
    return folder / name


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command, which must refuse, and returns what it says is wrong."""

    def run(*arguments: object) -> str:
        assert look.main([str(argument) for argument in arguments]) == 2
        said = capsys.readouterr().err
        assert said.startswith("nfft: ")
        assert len(said.splitlines()) == 1
        return said

    return run


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sheet(tmp_path_factory.mktemp("mixed"), *MIXED)


def test_a_process_draws_the_same_sheet(mixed: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "folder" / "sheet.png"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "nfft", "look", *MIXED, "--output", str(output)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == f"6 of the first 16 training images: {output}\n"
    assert output.read_bytes() == mixed.read_bytes()
    assert list(output.parent.iterdir()) == [output], "nothing is left beside it"


def test_a_sheet_can_be_looked_at(mixed: Path) -> None:
    with Image.open(mixed) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    assert 1200 < width < 2000
    assert 250 < height < 600
    # Six pictures in a row, white between them; digits are black around.
    dark = (pixels[height // 2].max(axis=1) < 250).astype(int)
    assert (np.diff(dark) == 1).sum() >= 6
    assert len(np.unique(pixels[..., 0])) > 100


def test_another_seed_or_setting_is_another_sheet(mixed: Path, tmp_path: Path) -> None:
    seed = sheet(tmp_path, *MIXED, "--seed", "1", name="seed.png")
    plain = sheet(tmp_path, "--task", "digits", "--images", "6", name="plain.png")
    assert len({path.read_bytes() for path in (mixed, seed, plain)}) == 3


def test_two_rows_are_taller_than_one(mixed: Path, tmp_path: Path) -> None:
    more = sheet(tmp_path, *MIXED[:-1], "8")
    with Image.open(mixed) as one, Image.open(more) as two:
        assert one.width == two.width
        assert 1.5 < two.height / one.height < 2


def test_no_more_images_than_a_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--batch-size", "8", "--set", "accumulation_steps=4"]
    assert sheet(tmp_path, "--task", "digits", "--images", "100", *settings).is_file()
    assert capsys.readouterr().out.startswith("8 of the first 8 training images: ")


def test_a_folder_of_photographs_with_odd_names(image_folder: Callable[..., Path], tmp_path: Path) -> None:
    # What the font lacks is drawn as boxes, without a warning; dollars are not mathematics.
    folder = image_folder(classes=["蜂", "$a_ant", "very " * 12 + "long"])
    picture = sheet(tmp_path, "--task", str(folder), "--images", "2", "--set", "mixup=1")
    with Image.open(picture) as image:
        assert image.width > 1200


@pytest.mark.parametrize("setting", ["trivialaugment=true", "color_jitter=0.4", "random_erasing=1"])
def test_what_is_done_to_each_image_can_be_looked_at(setting: str, mixed: Path, tmp_path: Path) -> None:
    with Image.open(mixed) as plain, Image.open(sheet(tmp_path, *MIXED, "--set", setting)) as altered:
        assert plain.size == altered.size and plain.tobytes() != altered.tobytes()


def test_a_note_on_pictures_that_randaugment_blanks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--task", "digits", "--images", "2"]
    sheet(tmp_path, *asked, "--set", "randaugment=5")
    said = capsys.readouterr().out.splitlines()
    assert re.search(r"^randaugment=5 can blank most of a picture of 48 px: it shifts by up to 50 px\.", said[0])
    proposed = re.search(r"in proportion that is --set (randaugment=\S+)$", said[0])
    assert proposed is not None
    assert said[1:] == [f"2 of the first 16 training images: {tmp_path / 'sheet.png'}"]
    # What it proposes it does not complain of.
    sheet(tmp_path, *asked, "--set", proposed[1])
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("images", ["5", "0", "-2", "many", "2.0"])
def test_a_number_of_images_that_cannot_be_paired(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        look.main(["--task", "digits", "--images", images])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(f"--images: expected an even number, because neighbours are mixed; got {images}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--task digit", r"unknown task 'digit'; did you mean 'digits'"),
        ("--task ./nowhere", r"--task ./nowhere: there is no such file or folder"),
        ("--task digits --recipe atuo", r"unknown recipe 'atuo'; did you mean 'auto'\?"),
        ("--task digits --set mixup=0", r"mixup must be above 0; got 0.0"),
        ("--task digits --set mixup=0.2 --batch-size 7", r"7 does not divide into 1 equal parts .*of an even size"),
        ("--task digits --recipe imagenet --batch-size -5", r"batch_size must be at least 1; got -5"),
    ],
)
def test_mistakes(
    arguments: str, message: str, complaint: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(message, complaint(*arguments.split()))
    assert not list(tmp_path.iterdir()), "nothing is written"


class TestOutput:
    ASKED = ("--task", "digits", "--images", "2", "--output")

    def test_a_folder(self, complaint: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        said = complaint(*self.ASKED, tmp_path / "folder")
        assert re.search(r"--output \S+/folder is a folder. Name a file, such as \S+/folder/look.png", said)
        assert list(tmp_path.iterdir()) == [tmp_path / "folder"], "nothing is left beside it"

    def test_below_a_file(self, complaint: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for output in (tmp_path / "file" / "sheet.png", tmp_path / "file" / "folder" / "sheet.png"):
            said = complaint(*self.ASKED, output)
            assert re.search(rf"--output {output} cannot be written \(\S+/file\S*: .*\). Choose another\.", said)
            assert "resume" not in said

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a file system that even root cannot write to")
    @pytest.mark.parametrize("output", ["/proc/nfft/sheet.png", "/proc/sheet.png"])
    def test_not_writable(self, complaint: Callable[..., str], output: str) -> None:
        said = complaint(*self.ASKED, output)
        assert re.search(rf"--output {output} cannot be written \(/proc/\S+: .*\). Choose another\.", said)
