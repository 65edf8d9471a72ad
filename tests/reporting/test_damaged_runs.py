"""Whatever stands in the files of a run, a card comes of it or a sentence that says what is wrong."""

import json
from pathlib import Path

import pytest
from damage import damaged

import nfft
from nfft.errors import UserError
from nfft.reporting.publish import add_evaluation, push_run, write_card
from nfft.runs.folder import write_evaluations, write_push
from nfft.runs.record import read_record
from nfft.runs.records import AddedEvaluation, EvaluatedTask, PushRecord, Results

DIGITS = Path(__file__).parents[2] / "cards" / "digits-nfnet-nano"
RESULTS = read_record(Results, DIGITS / "results.json")
EVALUATION = AddedEvaluation(
    task=EvaluatedTask(name="more", title="More digits", source="owner/more", source_hash="0a"),
    scores=RESULTS.validation, resolution=48, date="2026-11-25", command="nfft evaluate",
)  # fmt: skip
FILES = ("run.json", "results.json", "evaluations.json", "pushed.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run on data of the Hub, scored on other data and pushed."""
    content = json.loads((DIGITS / "run.json").read_text())
    content["task"]["source"] = "owner/digits"
    # One of a kind is enough.
    settings, shown = content["recipe"]["settings"], ("total_steps", "lr", "sam_rho", "test_resolution", "test_margin")
    content["recipe"]["settings"] = {name: settings[name] for name in shown}
    content["versions"] = {"nfft": "0.1.0"}
    (tmp_path / "run.json").write_text(json.dumps(content))
    (tmp_path / "results.json").write_bytes((DIGITS / "results.json").read_bytes())
    write_evaluations(tmp_path, [EVALUATION])
    write_push(tmp_path, PushRecord(repository="owner/net", cards=("0a",)))
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_an_entry_that_is_wrong_is_a_sentence_or_does_no_harm(folder: Path, name: str) -> None:
    write_card(folder)
    whole, refused, written = json.loads((folder / name).read_text()), 0, 0
    for content in damaged(whole):
        (folder / name).write_text(json.dumps(content))
        (folder / "README.md").unlink(missing_ok=True)
        try:
            write_card(folder)
        except UserError as error:
            assert name in str(error) and "\n" not in str(error)
            refused += 1
        else:
            written += 1
    assert refused > written > 0


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_json_is_named(folder: Path, name: str) -> None:
    for text in ("", "{", "[" * 100_000, "1" * 5000):
        (folder / name).write_text(text)
        with pytest.raises(UserError, match=f"{name} cannot be read: "):
            write_card(folder)


def test_a_run_of_a_newer_nfft_is_left_to_that(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    # It may have words that nobody knows here.
    run = {"versions": {"nfft": "99.1"}, "plans": run["task"]}
    (folder / "run.json").write_text(json.dumps(run))
    for refuse in (
        lambda: write_card(folder),
        lambda: push_run(folder, "owner/net", private=None, revision=None, create_pr=False),
        lambda: add_evaluation(folder, EVALUATION),
    ):
        with pytest.raises(
            UserError, match=rf"was written by nfft 99\.1, and this is nfft {nfft.__version__}\. Upgrade"
        ):
            refuse()
    assert not (folder / "README.md").exists()
