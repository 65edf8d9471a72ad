"""Which of many runs is run when: each once, after what it starts from; what fails stops no other."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Process
from run_records import make_results, make_run

from nfft.cli.many_runs import TIME_IS_UP, run_cells
from nfft.config.run_config import RunConfig
from nfft.errors import UserError
from nfft.experiments.cells import CELL, FAILED, LOCK, Cell
from nfft.experiments.process import arguments_of, is_running
from nfft.experiments.runner import check_cells, check_models, run_all
from nfft.files import write_json, write_text
from nfft.runs.folder import RESULTS, RUN


def cell(name: str, start: Cell | None = None, *arguments: str) -> Cell:
    return Cell(name, ("--task", name, *arguments), RunConfig(task=name), start)


NET = cell("net")
SOFT, HARD, OTHER = cell("soft", NET), cell("hard", NET), cell("other")


def leave_results(cell: Cell, folder: Path) -> None:
    place = folder / cell.name
    place.mkdir(parents=True)
    write_json(place / RUN, make_run().to_json())
    write_json(place / RESULTS, make_results().to_json())


class Runs:
    """Runs that end at once, with results unless they are to fail; it keeps in which order they were run."""

    def __init__(self, *failing: str) -> None:
        self.failing, self.order = set(failing), list[str]()

    def __call__(self, cell: Cell, folder: Path, stop_requested: Callable[[], bool]) -> str:
        self.order.append(cell.name)
        if cell.name in self.failing:
            return f"nfft: no {cell.name}"
        leave_results(cell, folder)
        return "written"


def never() -> bool:
    return False


def test_each_is_run_once_after_what_it_starts_from(tmp_path: Path) -> None:
    runs, said = Runs(), list[str]()
    assert run_all([SOFT, NET, OTHER], tmp_path, said.append, never, runs) == []
    assert runs.order == ["net", "soft", "other"]
    assert [line.split(":")[0] for line in said] == runs.order
    assert said[0].startswith("net: test top-1 80.00%, 0 s (2 left")
    assert [OTHER.beside(tmp_path, CELL).is_file(), OTHER.beside(tmp_path, FAILED).is_file()] == [True, False]
    said.clear()
    assert run_all([NET, SOFT, OTHER, HARD], tmp_path, said.append, never, runs) == []
    assert said[0] == "3 of 4 runs are done already"
    assert runs.order == ["net", "soft", "other", "hard"]


def test_what_fails_stops_no_other_and_is_tried_again_last(tmp_path: Path) -> None:
    runs, said = Runs("soft"), list[str]()
    (failed,) = run_all([NET, SOFT, HARD], tmp_path, said.append, never, runs)
    assert (failed.cell, failed.reason) == (SOFT, "nfft: no soft")
    assert "soft: failed: nfft: no soft" in said
    assert SOFT.failure(tmp_path) == "nfft: no soft"
    again = Runs()
    assert run_all([NET, SOFT, HARD, OTHER], tmp_path, said.append, never, again) == []
    assert again.order == ["other", "soft"]
    assert SOFT.failure(tmp_path) is None


def test_what_starts_from_a_failed_run_fails_with_it(tmp_path: Path) -> None:
    runs = Runs("net")
    failed = run_all([NET, SOFT, HARD, OTHER], tmp_path, [].append, never, runs)
    assert runs.order == ["net", "other"]
    wanted = ["nfft: no net", *["what it starts from, net, failed"] * 2]
    assert sorted(each.reason for each in failed) == wanted
    # Mended, all of it is run.
    assert run_all([NET, SOFT, HARD], tmp_path, [].append, never, Runs()) == []


AT_WORK = """
import sys
from pathlib import Path
from nfft.files import locked
lock, begun, end = map(Path, sys.argv[1:])
with locked(lock) as mine:
    assert mine
    begun.touch()
    while not end.exists():
        pass
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_that_another_process_is_at_is_waited_for(tmp_path: Path, fails: bool) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    runs, said = Runs(), list[str]()

    def say(line: str) -> None:
        said.append(line)
        # All that could be run has been: the other process comes to its end.
        if line.startswith("other"):
            if fails:
                write_text(SOFT.beside(tmp_path, FAILED), "nfft: no soft")
            else:
                leave_results(SOFT, tmp_path)
            end.touch()

    with Process("-c", AT_WORK, SOFT.beside(tmp_path, LOCK), begun, end) as process:
        while not begun.exists():
            assert process.returncode is None, process.communicate()
        failed = run_all([NET, SOFT, OTHER], tmp_path, say, never, runs)
    assert runs.order == ["net", "other"]
    assert [each.reason for each in failed] == (["nfft: no soft"] if fails else [])
    assert said[-1].startswith("soft: failed: nfft: no soft" if fails else "soft: test top-1")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_that_is_under_way_and_begins_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sent: signal.Signals
) -> None:
    def interrupted(cell: Cell, folder: Path, stop_requested: Callable[[], bool]) -> str:
        assert not stop_requested()
        os.kill(os.getpid(), sent)
        assert stop_requested()
        return "stopped"

    assert run_cells([NET, SOFT], tmp_path, run=interrupted) == ([], 128 + sent)
    assert "what is done stays. The same command goes on" in capsys.readouterr().err
    assert not NET.beside(tmp_path, FAILED).exists(), "it has not failed"
    runs = Runs()
    assert run_cells([NET, SOFT], tmp_path, run=runs) == ([], 0)
    assert runs.order == ["net", "soft"]


def test_a_machine_that_is_lent_for_minutes(tmp_path: Path) -> None:
    def until_told(cell: Cell, folder: Path, stop_requested: Callable[[], bool]) -> str:
        while not stop_requested():
            pass
        return "stopped"

    assert run_cells([NET, SOFT], tmp_path, minutes=1e-4, run=until_told) == ([], TIME_IS_UP)
    runs = Runs()
    assert run_cells([NET, SOFT], tmp_path, minutes=60, run=runs) == ([], 0)
    assert run_cells([OTHER], tmp_path, minutes=0, run=runs) == ([], TIME_IS_UP)
    assert runs.order == ["net", "soft"]


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    run_all([NET, SOFT], tmp_path, [].append, never, Runs())
    check_cells([NET, SOFT, OTHER], tmp_path)
    changed = cell("net", None, "--steps", "3")
    for other in (changed, cell("soft", changed)):
        with pytest.raises(UserError, match="holds a run of other settings"):
            check_cells([other], tmp_path)


def test_a_run_goes_on_where_it_was_left_and_starts_from_another(tmp_path: Path) -> None:
    place = str(tmp_path / "soft")
    assert arguments_of(SOFT, tmp_path) == [
        *SOFT.arguments, "--model", str(tmp_path / "net"), "--output-dir", place
    ]  # fmt: skip
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / RUN).touch()
    assert arguments_of(NET, tmp_path) == [*NET.arguments, "--output-dir", str(tmp_path / "net"), "--resume"]


def test_a_run_goes_on_from_whatever_it_was_killed_at(tmp_path: Path) -> None:
    place = tmp_path / "net"
    place.mkdir()
    for name in (".lock", ".run.json.0123abcd"):
        (place / name).touch()
    assert "--resume" not in arguments_of(NET, tmp_path)  # nothing is there yet
    (place / "checkpoints").mkdir()
    assert arguments_of(NET, tmp_path)[-1] == "--resume"
    write_json(NET.beside(tmp_path, CELL), NET.described())
    for text in ("", "{"):
        (place / RUN).write_text(text)
        check_cells([NET], tmp_path)


def test_results_that_are_cut_are_made_again(tmp_path: Path) -> None:
    runs = Runs()
    run_all([OTHER], tmp_path, [].append, never, runs)
    results = tmp_path / "other" / RESULTS
    results.write_bytes(results.read_bytes()[:-20])
    assert not OTHER.is_done(tmp_path)


CHILD = """
import subprocess, sys
from pathlib import Path
from nfft.config.run_config import RunConfig
from nfft.experiments import process
from nfft.experiments.cells import Cell
process.arguments_of = lambda cell, folder: []
sleeper = subprocess.Popen
def start(command, **options):
    child = sleeper([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, **options)
    print(child.pid, flush=True)
    return child
process.subprocess.Popen = start
process.run_process(Cell("net", (), RunConfig(task="net")), Path(sys.argv[1]), lambda: False)
"""


def test_a_run_whose_study_was_killed_is_not_run_twice(tmp_path: Path) -> None:
    # Before the run has got as far as to hold its folder.
    with Process("-c", CHILD, tmp_path) as study:
        while not (NET.beside(tmp_path, "log").is_file() and is_running(NET, tmp_path)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                study.wait(0.01)
                pytest.fail(f"it ended: {study.communicate()}")
        assert run_all([OTHER], tmp_path, [].append, never, Runs()) == []
        assert is_running(NET, tmp_path), "asking takes nothing away"
        study.kill()
    # Its end of the pipe is closed, so that it ends, too.
    while is_running(NET, tmp_path):
        os.sched_yield()


@pytest.mark.parametrize("name", ["nfnet-nono", "./no/such/folder", "scratch:nfnet_f99"])
def test_models_that_do_not_exist_are_found_before_the_work(tmp_path: Path, name: str) -> None:
    missing = Cell("net", (), RunConfig(task="digits", model=name))
    with pytest.raises(UserError):
        check_models([missing], tmp_path)
    check_models([Cell("soft", (), RunConfig(task="digits", model=name), NET)], tmp_path)
    leave_results(missing, tmp_path)
    check_models([missing], tmp_path)
