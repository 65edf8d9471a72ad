"""A run folder holds one run, and goes on only with the settings that it was started with."""

import copy
import json
import os
from pathlib import Path

import pytest

from nfft.errors import UserError
from nfft.machine import hardware, peak_memory, versions
from nfft.runs.folder import check_folder, hold_run, resume_run, start_run

FACTS = {
    "task": {"name": "digits"},
    "model": {"name": "nfnet-nano", "arguments": {}, "fingerprint": "0a"},
    "recipe": {"name": "auto", "settings": {"lr": 0.1, "total_steps": 100, "workers": None, "clipping": None}},
    "data": {"train": 80, "validation": 10, "test": 0, "classes": ["a", "é"], "fingerprint": "1b"},
    "seed": 0,
    "precision": "fp32",
    "processes": 1,
    "threads": 2,
}


def changed(*path: str, to: object) -> dict:
    facts = copy.deepcopy(FACTS)
    place = facts
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return facts


def started(folder: Path) -> Path:
    with hold_run(folder):
        start_run(folder, FACTS, [{"split": "train", "image": "é.png", "reason": "empty"}])
    return folder


def test_start_writes_whole_files(tmp_path: Path) -> None:
    folder = started(tmp_path / "deep" / "run")
    assert sorted(path.name for path in folder.iterdir()) == ["run.json", "skipped.jsonl"]
    assert json.loads((folder / "run.json").read_text()) == FACTS
    assert json.loads((folder / "skipped.jsonl").read_text())["image"] == "é.png"


def test_a_folder_that_another_run_has_taken_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    check_folder(tmp_path, resume=False)
    started(tmp_path)
    before = (tmp_path / "run.json").read_bytes()
    with hold_run(tmp_path), pytest.raises(UserError, match="already holds a run"):
        start_run(tmp_path, changed("seed", to=1), [])
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
    assert resume_run(folder, FACTS) == (FACTS, [])
    assert resume_run(folder, changed("recipe", "settings", "workers", to=4)) == (FACTS, [])


def test_settings_that_came_later_were_as_they_are_by_default(tmp_path: Path) -> None:
    folder = started(tmp_path)
    assert resume_run(folder, changed("recipe", "settings", "ema_warmup", to=True)) == (FACTS, [])
    with pytest.raises(UserError, match="ema_warmup was True, now False"):
        resume_run(folder, changed("recipe", "settings", "ema_warmup", to=False))


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        (("recipe", "settings", "lr"), 0.2, r"lr was 0\.1, now 0\.2"),
        (("recipe", "settings", "clipping"), 0.01, r"clipping was None, now 0\.01"),
        (("recipe", "settings", "added"), 1, "added was None, now 1"),
        (("data", "train"), 79, "train images was 80, now 79"),
        (("task", "name"), "other", "task was 'digits', now 'other'"),
        (("model", "name"), "other", "model was 'nfnet-nano', now 'other'"),
        (("model", "arguments"), {"width_factor": 0.5}, "model arguments was {}, now {'width_factor': 0.5}"),
        (("model", "fingerprint"), "0c", "weights fingerprint was '0a', now '0c'"),
        (("data", "fingerprint"), "1d", "data fingerprint was '1b', now '1d'"),
        (("seed",), 1, "seed was 0, now 1"),
        (("precision",), "bf16", "precision was 'fp32', now 'bf16'"),
        (("processes",), 2, "processes was 1, now 2"),
    ],
)
def test_another_run_may_not(tmp_path: Path, path: tuple, to: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        resume_run(started(tmp_path), changed(*path, to=to))


def test_every_difference_is_named(tmp_path: Path) -> None:
    facts = changed("seed", to=3)
    facts["recipe"]["settings"]["lr"] = 0.5
    with pytest.raises(UserError, match=r"lr was 0\.1, now 0\.5; seed was 0, now 3"):
        resume_run(started(tmp_path), facts)


def test_another_number_of_threads_is_said(tmp_path: Path) -> None:
    saved, (line,) = resume_run(started(tmp_path), changed("threads", to=8))
    assert saved == FACTS
    assert "2 threads, now on 8" in line
    assert "OMP_NUM_THREADS=2" in line


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"recipe": 3}', '{"recipe": {"settings": [1]}}'])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    started(tmp_path)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        resume_run(tmp_path, FACTS)


def test_describes_machine_and_versions() -> None:
    machine = hardware("cpu")
    assert machine["device"] == "cpu"
    assert machine["name"]
    assert machine["cores"] >= 1
    assert machine["memory_bytes"] > 2**28
    assert peak_memory("cpu") > 2**24
    assert {"nfft", "python", "torch", "timm"} <= versions().keys()
