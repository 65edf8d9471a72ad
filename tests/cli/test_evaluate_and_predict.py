"""`nfft evaluate` and `nfft predict` on a run's folder: the run's own scores again, and classes of pictures."""

import csv
import json
import os
import re
import sys
from collections.abc import Callable
from io import BufferedWriter, TextIOWrapper
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from processes import torchrun

from nfft.cli import card as card_command
from nfft.cli import evaluate, finetune, predict
from nfft.cli.streams import LastingFile
from nfft.reporting.publish import add_evaluation
from nfft.runs.records import AddedEvaluation

pytestmark = pytest.mark.usefixtures("blank_pictures")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    asked = ["--task", "digits", "--steps", "4", "--batch-size", "16", "--set", "evaluations=1", "--precision", "fp32"]
    asked += ["--set", "train_resolution=32", "--set", "test_resolution=32"]
    assert finetune.main([*asked, "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(finished, tmp_path / "run"))


def table_rows(name: str) -> list[dict[str, str]]:
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    *_, last = captured.splitlines()
    assert last.startswith("nfft: ")
    return last


def test_the_runs_own_scores_come_out_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["--model", str(run), "--task", "digits", "--precision", "fp32"]) == 0
    (output,) = Path("runs").glob("evaluate-digits-run-*-test-32px/results.json")
    written = json.loads(output.read_text())
    own = json.loads((run / "results.json").read_text())["test"]
    for name in ("top1", "top5", "count", "resolution", "confusion", "per_class"):
        assert written["scores"][name] == own[name], name
    assert written["scores"]["loss"] == pytest.approx(own["loss"], abs=1e-5)
    assert f"top-1 {own['top1']:.2%}" in capsys.readouterr().out


def test_another_split_and_resolution_are_added_to_the_card(run: Path) -> None:
    asked = ["--model", str(run), "--task", "digits", "--split", "validation", "--resolution", "48"]
    readme = run / "README.md"
    readme.write_text(readme.read_text() + "\n## My notes\n\nKept, with `## no heading` in it.\n")
    for _ in range(2):
        AcceleratorState._reset_state(reset_partial_state=True)
        assert evaluate.main([*asked, "--add-to", str(run), "--output", "out/own.json"]) == 0
    (added,) = json.loads((run / "evaluations.json").read_text())
    of_others = {**added, "task": {**added["task"], "source_hash": "of others"}}
    add_evaluation(run, AddedEvaluation.from_json(of_others))
    assert len(json.loads((run / "evaluations.json").read_text())) == 2, "data of the same name, from elsewhere"
    assert added["scores"]["split"] == "validation" and added["resolution"] == 48
    assert "Kept, with `## no heading` in it." in readme.read_text()
    assert f"{100 * added['scores']['top1']:.2f}" in readme.read_text()
    assert Path("out/own.json").is_file()


def test_scores_of_other_views_stand_beside_each_other(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--model", str(run), "--task", "digits", "--split", "validation", "--views", "flip"]
    assert evaluate.main([*asked, "--add-to", str(run)]) == 0
    said = capsys.readouterr()
    assert "digits validation, 32 px, mean of 2 views (flip):\n" in said.out
    # As --set flip=false says of digits in training.
    assert "task digits has pictures that are not to be mirrored, and views flip mirrors them" in said.err
    (output,) = Path("runs").glob("evaluate-digits-run-*-validation-32px-flip/results.json")
    scores, own = json.loads(output.read_text())["scores"], json.loads((run / "results.json").read_text())
    assert scores["views"] == "flip" and scores["count"] == own["validation"]["count"]
    assert scores["loss"] != own["validation"]["loss"]
    assert "views" not in own["test"] and "views" not in own["validation"]
    (flipped,) = json.loads((run / "evaluations.json").read_text())
    single = {**flipped, "scores": own["validation"]}
    for entry in (single, {**flipped, "scores": {**scores, "views": "crops"}}, single, flipped):
        add_evaluation(run, AddedEvaluation.from_json(entry))
    added = json.loads((run / "evaluations.json").read_text())
    assert [entry["scores"].get("views") for entry in added] == ["crops", None, "flip"]
    assert added[1:] == [single, flipped]
    card = (run / "README.md").read_text()
    for views in ("", ", mean of 5 views (crops)", ", mean of 2 views (flip)"):
        assert len(re.findall(rf"^\| [^|]*, validation{re.escape(views)} \| .* \| 32 px \|", card, re.MULTILINE)) == 1


@pytest.mark.slow
def test_two_processes_equal_one(run: Path) -> None:
    asked = ["evaluate", "--model", str(run), "--task", "digits", "--precision", "fp32"]
    assert evaluate.main([*asked[1:], "--output", "alone.json"]) == 0
    done = torchrun("-m", "nfft", *asked, "--output", "shared.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("top-1 ") == done.stdout.count("written to ") == 1
    alone, shared = (json.loads(Path(f"{name}.json").read_text())["scores"] for name in ("alone", "shared"))
    assert shared["loss"] == pytest.approx(alone["loss"], abs=1e-6)
    for name in ("count", "left_out", "top1", "top5", "confusion", "per_class"):
        assert shared[name] == alone[name], name


def test_classes_are_matched_by_name(run: Path, image_folder: Callable[..., Path]) -> None:
    folder = image_folder("some", classes=["9", "3"], images=4)
    assert (
        evaluate.main(["--model", str(run), "--task", str(folder), "--split", "validation", "--output", "r.json"]) == 0
    )
    scores = json.loads(Path("r.json").read_text())["scores"]
    assert {true for true, *_ in scores["confusion"]} == {3, 9} and len(scores["per_class"]) == 10


def test_all_of_new_pictures_and_of_one_class_alone(run: Path, image_folder: Callable[..., Path]) -> None:
    asked = ["--split", "all", "--output", "r.json"]
    assert evaluate.main(["--model", str(run), "--task", str(image_folder("new", classes=["9", "3"])), *asked]) == 0
    assert json.loads(Path("r.json").read_text())["scores"]["count"] == 16
    AcceleratorState._reset_state(reset_partial_state=True)
    assert evaluate.main(["--model", str(run), "--task", str(image_folder("one", classes=["5"])), *asked]) == 0
    assert json.loads(Path("r.json").read_text())["scores"]["count"] == 8


def test_nothing_else_is_replaced_and_a_card_gets_its_own_scores(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = (run / "results.json").read_bytes()
    (tmp_path / "deep.json").write_text("[" * 100_000)
    asked = ["--model", str(run), "--task", "digits"]
    for wrong, sentence in (
        (["--output", str(run / "results.json")], "is there already, and is no evaluation"),
        (["--output", str(tmp_path / "deep.json")], "is there already, and is no evaluation"),
        (["--output", str(run)], "is a folder"),
        (["--output", str(run / "results.json" / "x.json")], "cannot be written"),
        (["--output", "/proc/none/x.json"], "cannot be written"),
        (["--add-to", str(tmp_path)], "is not the folder of a run"),
    ):
        AcceleratorState._reset_state(reset_partial_state=True)
        assert evaluate.main([*asked, *wrong]) == 2
        assert sentence in complaint(capsys)
    assert (run / "results.json").read_bytes() == own
    import shutil

    other = shutil.copytree(run, tmp_path / "other")
    (other / "model.safetensors").write_bytes(b"others")
    AcceleratorState._reset_state(reset_partial_state=True)
    assert evaluate.main([*asked, "--add-to", str(other)]) == 2
    assert "the run there has other weights than --model" in complaint(capsys)
    (other / "results.json").unlink()
    AcceleratorState._reset_state(reset_partial_state=True)
    assert evaluate.main([*asked, "--add-to", str(other)]) == 2
    assert "the run there has not ended" in complaint(capsys)


def test_mistakes_of_evaluate(run: Path, image_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(image_folder())
    assert evaluate.main(["--model", str(run), "--task", folder]) == 2
    assert re.search(
        r"the model tells 10 classes apart \(0, 1, 2, ...\); task photos has 2.*Fine-tune", complaint(capsys)
    )
    AcceleratorState._reset_state(reset_partial_state=True)
    assert evaluate.main(["--model", str(run), "--task", folder, "--split", "test"]) == 2
    assert "--split test: the task has none; it has train, validation" in complaint(capsys)
    assert evaluate.main(["--model", "nowhere/", "--task", "digits"]) == 2
    assert "there is no such folder" in complaint(capsys)
    assert evaluate.main(["--model", str(run), "--task", "digits", "--set", "task.metrik=top1"]) == 2
    assert "the task has no setting 'metrik'; did you mean 'metric'" in complaint(capsys)
    assert evaluate.main(["--model", str(run), "--task", "digits", "--set", "label=digit"]) == 2
    assert "--set label: expected a setting of the task, such as task.label=species" in complaint(capsys)
    assert evaluate.main(["--model", str(run), "--task", "digits", "--resolution", "16"]) == 2
    assert "--resolution 16 is too small for test_nfnet" in complaint(capsys)
    with pytest.raises(SystemExit):
        evaluate.main(["--model", str(run), "--task", "digits", "--resolution", "2"])
    assert "from 8 to 4096; got 2" in capsys.readouterr().err


def test_pictures_in_lines_and_in_a_table(
    run: Path, image_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = image_folder('strange names, "quoted"', images=3)
    (folder / "ant" / "broken.png").write_bytes(b"torn")
    (folder / "notes.txt").write_text("no picture")
    assert predict.main(["--model", str(run), str(folder), "--top-k", "2", "--batch-size", "2"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 6
    assert re.match(r".*ant/0.png: \d \d+\.\d%, \d \d+\.\d%$", captured.out.splitlines()[0])
    assert "broken.png cannot be read: cannot identify image file" in captured.err

    assert predict.main(["--model", str(run), str(folder), "--csv", "out/table.csv", "--top-k", "99"]) == 0
    with Path("out/table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows if row["error"]] == [str(folder / "ant" / "broken.png")]
    assert len(rows) == 7 and rows[0]["file"] == str(folder / "ant" / "0.png") and not rows[0]["error"]
    assert rows[3]["error"] == "cannot identify image file" and rows[3]["label_1"] == ""
    captured = capsys.readouterr()
    assert "6 pictures: out/table.csv" in captured.out
    assert "1 of 7 files cannot be read; their rows say why" in captured.err
    assert "not used: 1 file (.txt)" in captured.err
    assert sum(float(rows[0][f"score_{rank}"]) for rank in range(1, 11)) == pytest.approx(1, abs=1e-4)

    strange = folder / os.fsdecode(b"caf\xe9.png")  # as from an old archive: no UTF-8
    (folder / "ant" / "0.png").rename(strange)
    assert predict.main(["--model", str(run), str(strange), "--csv", "out/table.csv"]) == 0
    assert os.fsencode(strange.name) in Path("out/table.csv").read_bytes()
    assert predict.main(["--model", str(run), str(strange)]) == 0
    assert "caf?.png: " in capsys.readouterr().out


def test_who_stops_reading_is_told_no_more(
    run: Path, image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = image_folder(images=1)
    (folder / "bee" / "0.png").write_bytes(b"torn")
    end, descriptor = os.pipe()
    os.close(end)
    pipe = TextIOWrapper(BufferedWriter(LastingFile(descriptor, "standard output")))  # type: ignore[type-var]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", pipe)
        assert predict.main(["--model", str(run), str(folder), "--batch-size", "1"]) == 0
    os.close(descriptor)
    assert capsys.readouterr().err == "", "the second is not shown any more"


def test_a_picture_that_is_a_program_is_none(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("photo.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n")
    assert predict.main(["--model", str(run), "photo.jpg"]) == 2
    assert "cannot identify image file" in capsys.readouterr().err


def test_mistakes_of_predict(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict.main(["--model", str(run), "nowhere.jpg"]) == 2
    assert "nowhere.jpg: there is no such file or folder" in complaint(capsys)
    (tmp_path / "empty").mkdir()
    assert predict.main(["--model", str(run), "empty"]) == 2
    assert "empty holds no pictures" in complaint(capsys)
    Path("torn.png").write_bytes(b"torn")
    assert predict.main(["--model", str(run), "torn.png"]) == 2
    assert "none of the 1 files is a picture" in complaint(capsys)
    assert predict.main(["--model", str(run), "--csv", "torn.png", "torn.png"]) == 2
    assert "--csv torn.png is there already, and is no table of predictions" in complaint(capsys)
    assert Path("torn.png").read_bytes() == b"torn"
    assert predict.main(["--model", str(run), "torn.png", "--csv", "empty"]) == 2
    assert "--csv empty is a folder" in complaint(capsys)
    Path("new.csv").touch()
    assert predict.main(["--model", str(run), "torn.png", "--csv", "new.csv"]) == 2
    assert "none of the 1 files is a picture" in complaint(capsys), "an empty file is nobody's loss"


def test_a_table_that_was_torn_goes_on(
    run: Path, image_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, table = image_folder("odd,\nname"), Path("table.csv")
    (folder / "ant" / "2.png").write_bytes(b"torn")
    asked = ["--model", str(run), str(folder), "--csv", str(table), "--top-k", "2", "--batch-size", "3"]
    assert predict.main(asked) == 0
    whole = table.read_bytes()
    lines = whole.split(b"\r\n")
    for kept in (
        0,
        7,
        len(lines[0]) + 2,
        len(whole) // 2,
        whole.index(b"\n", len(whole) // 2) + 1,
        len(whole) - 1,
        len(whole),
    ):
        table.write_bytes(whole[:kept])
        assert predict.main([*asked, "--continue"]) == 0
        assert table.read_bytes() == whole, kept
    said = capsys.readouterr()
    assert "15 pictures (15 of them were there): table.csv" in said.out
    assert predict.main([*asked[:-3], "3", "--continue"]) == 2
    assert "other columns than this call writes: go on with the --top-k of before" in complaint(capsys)
    assert table.read_bytes() == whole
    # The answers of another model.
    *file, label, score = lines[1].rsplit(b",", 5)[:3]
    for other in (b",".join([*file, b"wasp", score]), b",".join([*file, label, b"0.010000"])):
        table.write_bytes(whole.replace(b",".join([*file, label, score]), other))
        assert predict.main([*asked, "--continue"]) == 2
        assert "was begun by another model" in complaint(capsys)
    assert predict.main(["--model", str(run), str(folder), "--continue"]) == 2
    assert "--continue goes on with a table: name it with --csv" in complaint(capsys)


def test_a_table_goes_on_with_the_views_it_was_begun_with(
    run: Path, image_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = image_folder(images=2)
    (folder / "ant" / "1.png").write_bytes(b"torn")
    asked = ["--model", str(run), str(folder), "--top-k", "2"]
    assert predict.main([*asked, "--csv", "single.csv"]) == 0
    assert predict.main([*asked, "--views", "flip", "--csv", "flip.csv"]) == 0
    single, flip = table_rows("single.csv"), table_rows("flip.csv")
    assert list(single[0]) == ["file", "label_1", "score_1", "label_2", "score_2", "error"]
    assert {row["views"] for row in flip} == {"flip"}
    assert [row["error"] for row in flip] == [row["error"] for row in single]
    assert flip[0]["score_1"] != single[0]["score_1"]
    whole = Path("flip.csv").read_bytes()
    for views, table in (("flip", "single.csv"), ("single", "flip.csv"), ("crops-flip", "flip.csv")):
        assert predict.main([*asked, "--views", views, "--csv", table, "--continue"]) == 2
        assert "has answers to other views than this call's: go on with the --views of before" in complaint(capsys)
    assert Path("flip.csv").read_bytes() == whole
    Path("flip.csv").write_bytes(whole[: len(whole) // 2])
    assert predict.main([*asked, "--views", "flip", "--csv", "flip.csv", "--continue"]) == 0
    assert Path("flip.csv").read_bytes() == whole


def test_an_interrupt_keeps_what_is_done(
    run: Path, image_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nfft import AutoNFNet

    folder, classify, calls = image_folder(), AutoNFNet.classify, []

    def interrupted(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return classify(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(AutoNFNet, "classify", interrupted)
    assert predict.main(["--model", str(run), str(folder), "--csv", "t.csv", "--batch-size", "4"]) == 130
    assert len(table_rows("t.csv")) == 8


def test_what_cannot_be_written_is_found_before_the_model_is_loaded(
    image_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").touch()
    folder = str(image_folder())
    for place in ("file/table.csv", "/proc/nowhere/table.csv", "/dev/full"):
        assert predict.main(["--model", "no-such-model", folder, "--csv", place]) == 2
        said = complaint(capsys)
        assert "cannot be used" in said or "is no file" in said


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="only Unix has pipes with names")
def test_a_pipe_is_no_picture(run: Path, image_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = image_folder(images=1)
    os.mkfifo("pipe.png")
    assert predict.main(["--model", str(run), "pipe.png", str(folder / "ant" / "*.png")]) == 0
    said = capsys.readouterr()
    assert "pipe.png cannot be read: it is no file but a pipe" in said.err and "ant/0.png: " in said.out


@pytest.mark.slow
def test_several_processes_fill_one_table_in_order(run: Path, image_folder: Callable[..., Path]) -> None:
    folder = image_folder("many", images=7)
    (folder / "bee" / "3.png").write_bytes(b"torn")
    asked = ["predict", "--model", str(run), str(folder), "--batch-size", "2"]
    assert predict.main([*asked[1:], "--csv", "alone.csv"]) == 0
    done = torchrun("-m", "nfft", *asked, "--csv", "shared.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("13 pictures") == 1
    alone, shared = map(table_rows, ("alone.csv", "shared.csv"))
    assert [row["file"] for row in shared] == [row["file"] for row in alone]
    assert [row["label_1"] for row in shared] == [row["label_1"] for row in alone]


def test_a_card_edited_by_hand_is_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = run / "README.md"
    assert card_command.main([str(run)]) == 0
    before = card.read_text()
    card.write_text(before.replace("# ", "# Best of all: ", 1))
    edited = card.read_text()
    assert card_command.main([str(run)]) == 0
    assert card.read_text() == before
    (kept,) = run.glob("README.*.md")
    assert kept.read_text() == edited and str(kept) in capsys.readouterr().out
    assert card_command.main([str(run / "nothing")]) == 2
