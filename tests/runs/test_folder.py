"""A run folder holds one run, goes on only with the settings it was started with, and reads what it wrote."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_records import make_results, make_run, make_scores, make_steps, make_validation

import nfft
from nfft.errors import UserError
from nfft.machine import hardware, peak_memory, versions
from nfft.runs.folder import (
    add_skipped,
    check_folder,
    has_ended,
    hold_run,
    read_evaluations,
    read_metrics,
    read_push,
    read_results,
    read_run,
    read_skipped,
    resume_run,
    start_run,
    started_as,
    write_evaluations,
    write_push,
    write_results,
    write_run,
)
from nfft.runs.records import AddedEvaluation, EvaluatedTask, PushRecord, RunRecord, Skipped

RUN = make_run(("a", "é"))
LOST = Skipped(split="train", image="é.png", reason="empty")


def changed(part: str, **changes: Any) -> RunRecord:
    return replace(RUN, **{part: replace(getattr(RUN, part), **changes)})


def with_settings(**changes: Any) -> RunRecord:
    return changed("recipe", settings={**RUN.recipe.settings, **changes})


def started(folder: Path) -> Path:
    with hold_run(folder):
        start_run(folder, RUN, [LOST])
    return folder


def test_start_writes_whole_files(tmp_path: Path) -> None:
    folder = started(tmp_path / "deep" / "run")
    assert sorted(path.name for path in folder.iterdir()) == ["run.json", "skipped.jsonl"]
    assert read_run(folder) == RUN
    assert json.loads((folder / "skipped.jsonl").read_text())["image"] == "é.png"


def test_a_folder_that_another_run_has_taken_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    check_folder(tmp_path, resume=False)
    started(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with hold_run(tmp_path), pytest.raises(UserError, match="already holds a run"):
        start_run(tmp_path, replace(RUN, seed=1), [])
    assert (tmp_path / "run.json").read_bytes() == before


def test_check_lets_a_new_run_begin(tmp_path: Path) -> None:
    check_folder(tmp_path / "absent" / "run", resume=False)
    check_folder(tmp_path, resume=False)
    check_folder(started(tmp_path / "run"), resume=True)


def test_check_protects_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"already holds a run.*--resume.*--output-dir"):
        check_folder(started(tmp_path / "run"), resume=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        check_folder(tmp_path / "other", resume=False)
    with pytest.raises(UserError, match="there is no run in"):
        check_folder(tmp_path / "other", resume=True)
    with pytest.raises(UserError, match="there is no run in"):
        check_folder(tmp_path / "absent", resume=True)
    with pytest.raises(UserError, match="is a file"):
        check_folder(tmp_path / "other" / "notes.txt", resume=False)
    with pytest.raises(UserError, match=r"cannot be made: .*notes\.txt"):
        check_folder(tmp_path / "other" / "notes.txt" / "run", resume=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_check_sees_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="not writable"):
        check_folder(tmp_path / "run", resume=False)


def test_the_same_run_may_go_on(tmp_path: Path) -> None:
    folder = started(tmp_path)
    assert resume_run(folder, RUN) == (RUN, [])
    assert resume_run(folder, with_settings(workers=4)) == (RUN, [])
    # What only says when, where and in what words.
    assert resume_run(folder, replace(RUN, command="nfft finetune", started="later")) == (RUN, [])
    assert resume_run(folder, changed("task", title="Other", license="mit")) == (RUN, [])


def test_settings_that_came_later_were_as_they_are_by_default(tmp_path: Path) -> None:
    folder = started(tmp_path)
    assert resume_run(folder, with_settings(ema_warmup=True)) == (RUN, [])
    with pytest.raises(UserError, match="ema_warmup was True, now False"):
        resume_run(folder, with_settings(ema_warmup=False))


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (with_settings(lr=0.2), r"lr was 0\.1, now 0\.2"),
        (with_settings(ema_decay=0.99), r"ema_decay was None, now 0\.99"),
        (with_settings(added=1), "added was None, now 1"),
        (changed("data", train=3999), "train images was 4000, now 3999"),
        (changed("data", shots=5), "shots images was None, now 5"),
        (changed("data", fingerprint="1d"), "data fingerprint was '1b', now '1d'"),
        (changed("task", name="other"), "task was 'flowers', now 'other'"),
        (changed("method", name="lora"), "method was 'full', now 'lora'"),
        (changed("method", settings={"rank": 2}), r"method\.rank was None, now 2"),
        (changed("model", name="other"), "model was 'timm/nfnet_f0.dm_in1k', now 'other'"),
        (changed("model", arguments={"width_factor": 0.5}), "model arguments was {}, now {'width_factor': 0.5}"),
        (changed("model", fingerprint="0c"), "weights fingerprint was '0a', now '0c'"),
        (replace(RUN, seed=1), "seed was 7, now 1"),
        (replace(RUN, precision="fp32"), "precision was 'bf16', now 'fp32'"),
        (replace(RUN, processes=2), "processes was 1, now 2"),
        (replace(with_settings(lr=0.5), seed=3), r"lr was 0\.1, now 0\.5; seed was 7, now 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_run_may_not(tmp_path: Path, run: RunRecord, message: str) -> None:
    with pytest.raises(UserError, match=f"--resume: the run in .* was started with other settings: {message}. Use"):
        resume_run(started(tmp_path), run)


def test_another_number_of_threads_is_said(tmp_path: Path) -> None:
    saved, (line,) = resume_run(started(tmp_path), replace(RUN, threads=8))
    assert saved == RUN
    assert "2 threads, now on 8" in line
    assert "OMP_NUM_THREADS=2" in line


@pytest.mark.parametrize("text", ["{}", "[]", '{"recipe": 3}', '{"recipe": {"settings": [1]}}', "[" * 100_000])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    started(tmp_path)
    (tmp_path / "run.json").write_text(text)
    for refuse in (lambda: resume_run(tmp_path, RUN), lambda: check_folder(tmp_path, resume=True)):
        with pytest.raises(UserError, match=r"--resume: .*run\.json is damaged or not a run's. Start anew in another"):
            refuse()
    assert started_as(tmp_path) is None


def saved_at(folder: Path, step: int, record: RunRecord) -> None:
    place = folder / "checkpoints" / f"step-{step:08d}"
    place.mkdir(parents=True)
    (place / "state.json").write_text(json.dumps({"step": step, "run": record.to_json()}))


@pytest.mark.parametrize("text", [None, "", "{", "\0" * 99, "{}", "[]"])
def test_a_record_that_is_lost_is_found_in_the_checkpoint(tmp_path: Path, text: str | None) -> None:
    folder = started(tmp_path)
    saved_at(folder, 10, replace(RUN, seed=1))
    saved_at(folder, 20, RUN)
    lost = folder / "run.json"
    lost.unlink() if text is None else lost.write_text(text)
    check_folder(folder, resume=True)
    record = started_as(folder)
    assert record is not None and record.recipe.settings["lr"] == 0.1
    with pytest.raises(UserError, match=r"lr was 0\.1, now 0\.2"):
        resume_run(folder, with_settings(lr=0.2))
    record, (line,) = resume_run(folder, replace(RUN, started="later"))
    assert record == RUN == read_run(folder)
    assert "was lost or damaged" in line


@pytest.mark.parametrize("text", [None, "", "{", "\0" * 99])
def test_a_run_that_was_killed_before_anything_was_saved_begins_anew(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    for name in (".lock", ".run.json.0123abcd", "metrics.jsonl"):
        (tmp_path / name).touch()
    check_folder(tmp_path, resume=True)
    with hold_run(tmp_path):
        record, (line,) = resume_run(tmp_path, RUN, [LOST])
    assert record == RUN == read_run(tmp_path)
    assert read_skipped(tmp_path) == [LOST]
    assert "nothing had been saved" in line
    assert not (tmp_path / ".run.json.0123abcd").exists()


def test_a_run_killed_before_its_first_file_can_be_started_again(tmp_path: Path) -> None:
    for name in (".lock", ".run.json.0123abcd"):
        (tmp_path / name).touch()
    check_folder(tmp_path, resume=False)
    started(tmp_path)
    assert read_run(tmp_path) == RUN


def test_what_a_run_has_made_is_not_begun_anew_for_want_of_its_record(tmp_path: Path) -> None:
    (tmp_path / "run.json").touch()
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="damaged"):
        check_folder(tmp_path, resume=True)


def test_only_what_nfft_left_half_written_is_deleted(tmp_path: Path) -> None:
    litter = [".results.json.0123abcd", ".README.md.0123abcd", ".model.safetensors.0123abcd", ".tmpAb12Cd"]
    mine = [".notes.txt.0123abcd", ".results.json", ".results.json.bak", "results.json.0123abcd", ".tmp", ".saving"]
    for name in (*litter, *mine):
        (tmp_path / name).touch()
    for name in (".saving-ab12_x9z", "checkpoints/.step-00000010.123", "checkpoints/.step-mine", ".saving-notes"):
        (tmp_path / name).mkdir(parents=True)
    with hold_run(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {*mine, "checkpoints", ".saving-notes"}
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [".step-mine"]


def test_a_folder_that_stays_empty_goes_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold_run(tmp_path / "runs" / "photos"):
        raise ZeroDivisionError
    assert [*tmp_path.iterdir()] == []


def test_a_run_has_ended_once_its_last_file_is_whole(tmp_path: Path) -> None:
    folder = started(tmp_path)
    assert not has_ended(folder)
    write_results(folder, make_results())
    assert has_ended(folder)
    whole = (folder / "results.json").read_bytes()
    (folder / "results.json").write_bytes(whole[:-9])
    assert not has_ended(folder)


def test_a_list_of_broken_images_that_is_torn_is_made_again(tmp_path: Path) -> None:
    folder = started(tmp_path)
    (folder / "skipped.jsonl").write_text('{"split": "tra')
    resume_run(folder, RUN, [LOST])
    assert read_skipped(folder) == [LOST]


def test_a_run_of_a_newer_nfft_is_left_to_that(tmp_path: Path) -> None:
    write_run(started(tmp_path), replace(RUN, versions={"nfft": "99.1"}))
    write_results(tmp_path, make_results())
    for refuse in (
        lambda: resume_run(tmp_path, RUN),
        lambda: check_folder(tmp_path, resume=True),
        lambda: read_run(tmp_path),
        lambda: read_results(tmp_path),
    ):
        with pytest.raises(
            UserError, match=rf"was written by nfft 99\.1, and this is nfft {nfft.__version__}\. Upgrade"
        ):
            refuse()


@pytest.mark.parametrize("version", [nfft.__version__, "0.0.1", "unknown", "9" * 5000])
def test_a_version_that_is_not_newer_is_none_of_its_business(tmp_path: Path, version: str) -> None:
    write_run(tmp_path, replace(RUN, versions={"nfft": version}))
    assert read_run(tmp_path).versions == {"nfft": version}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    results, run = make_results(), replace(RUN, versions={})
    write_run(tmp_path, run)
    write_results(tmp_path, results)
    assert (read_run(tmp_path), read_results(tmp_path)) == (run, results)

    assert (read_evaluations(tmp_path), read_push(tmp_path)) == ([], PushRecord())
    evaluation = AddedEvaluation(
        task=EvaluatedTask(name="t", source="s"), scores=make_scores(), resolution=256, date="d", command="c"
    )
    write_evaluations(tmp_path, [evaluation, evaluation])
    write_push(tmp_path, PushRecord(repository="me/x", cards=("0a", None)))
    assert read_evaluations(tmp_path) == [evaluation, evaluation]
    assert read_push(tmp_path) == PushRecord(repository="me/x", cards=("0a", None))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has no run\.json: expected the folder of a run, as `nfft finetune` leaves it"
    ):
        read_run(tmp_path)
    with pytest.raises(UserError, match=r"run\.json cannot be read: "):
        (tmp_path / "run.json").write_bytes(b"\xff")
        read_run(tmp_path)


def test_metrics_up_to_a_line_that_is_torn(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    metrics = [*make_steps(3), make_validation(3, "ema")]
    lines = [json.dumps(line.to_json()) for line in metrics]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, lines[0][:-9]]))
    assert read_metrics(tmp_path) == metrics
    (tmp_path / "metrics.jsonl").write_bytes("\n".join([*lines, ""]).encode() + b"\0\xff\0")
    assert read_metrics(tmp_path) == metrics
    (tmp_path / "metrics.jsonl").write_text("\n".join([lines[0], '{"kind": "other", "step": 2}', lines[1]]))
    assert read_metrics(tmp_path) == metrics[:1]


def test_images_that_break_in_the_run_are_added_once(tmp_path: Path) -> None:
    other = replace(LOST, image="two\u2028lines.png")
    add_skipped(started(tmp_path), [LOST, other, replace(other, reason="again")])
    add_skipped(tmp_path, [other])
    assert read_skipped(tmp_path) == [LOST, other]


def test_describes_machine_and_versions() -> None:
    machine = hardware("cpu")
    assert machine["device"] == "cpu"
    assert machine["name"]
    assert machine["cores"] >= 1
    assert machine["memory_bytes"] > 2**28
    assert peak_memory("cpu") > 2**24
    assert {"nfft", "python", "torch", "timm"} <= versions().keys()
