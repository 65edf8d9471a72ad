"""Programs in processes that begin with the slow libraries imported: forked from a server that has them.

run("-m", "nfft", "push", folder) does what subprocess.run([sys.executable, "-m", "nfft", "push", folder]) does, in a
third of the time. Tests of how a process is really started use subprocess.
"""

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

import nfft

# What launchers are given.
SCRIPT = Path(nfft.__file__).parent / "finetune.py"
STEPS = 12
COMMON = [
    *("--task", "digits", "--model", "scratch:test_nfnet", "--steps", str(STEPS), "--batch-size", "32"),
    *("--set", "evaluations=3", "--set", "dropout=0.2", "--set", "stochastic_depth=0.1"),
    *("--set", "mixup=0.2", "--set", "cutmix=true"),
    # 90 images to score.
    *("--set", "task.validation_fraction=0.05", "--set", "task.test_fraction=0.05"),
]

# Of what reads its variables when it is imported, only what `_be_python` lets read them again.
PRELOADED = ["matplotlib.pyplot", "pandas", "pytest", "requests", "scipy.stats", "sklearn.datasets", "torchvision"]
PRELOADED += ["nfft.experiments.plots", "nfft.reporting.publish", "nfft.training.run"]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(PRELOADED)
PATIENCE = 300


class Process:
    """A program that runs, with what tests use of subprocess.Popen; it leads a process group of its own."""

    def __init__(self, *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        """Start Python with `arguments`: -m and a module, -c and code, or a script's path; then those of the program.

        Args:
            cwd: where; here when absent.
            env: all its environment variables; this process's when absent.
        """
        self.args = [str(argument) for argument in arguments]
        self._written = [tempfile.NamedTemporaryFile("r") for _ in ("output", "errors")]  # noqa: SIM115 (see __exit__)
        where, environment = str(cwd or Path.cwd()), dict(os.environ if env is None else env)
        files = [file.name for file in self._written]
        self._process = SERVER.Process(target=_be_python, args=(self.args, where, environment, files))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:
            self.kill()
        self.wait()
        for file in self._written:
            file.close()

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the signal that killed it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once there is one.

        Raises:
            subprocess.TimeoutExpired: when it still runs after `timeout` seconds.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self.returncode

    def interrupt(self, number: int) -> None:
        """Send a signal to the whole group, as a terminal does for Ctrl-C."""
        os.killpg(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Standard output and standard error of a program, once it has ended."""
        self.wait(timeout)
        output, errors = (Path(file.name).read_text() for file in self._written)
        return output, errors


def run(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What came of a program; arguments as for `Process`."""
    with Process(*arguments, cwd=cwd, env=env) as process:
        output, errors = process.communicate(PATIENCE)
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def torchrun(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """The same of a script in several processes that find each other, as torchrun starts them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
    shared |= {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    with contextlib.ExitStack() as stack:
        running = []
        for rank in range(processes):
            own = {name: str(value) for name, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
            running.append(stack.enter_context(Process(*arguments, env={**os.environ, **own})))
        texts = [process.communicate(PATIENCE) for process in running]
    status = next((process.wait() for process in running if process.wait()), 0)
    return subprocess.CompletedProcess(running[0].args, status, *("".join(parts) for parts in zip(*texts, strict=True)))


def _be_python(arguments: list[str], folder: str, environment: dict[str, str], files: list[str]) -> None:
    """In the new process: do what Python does from its start to its end."""
    # What is imported stays to the end, and need not be looked through.
    gc.freeze()
    os.setsid()
    for stream, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # It reads once where the Hub is, and each test has its own; so does the client that its functions are of.
    constants = importlib.reload(sys.modules["huggingface_hub.constants"])
    sys.modules["huggingface_hub.hf_api"].api.endpoint = constants.ENDPOINT  # type: ignore[attr-defined]
    # What a shell runs in the background hears no Ctrl-C, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Loader workers are forked, as from any other process.
    multiprocessing.set_start_method(None, force=True)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    with contextlib.suppress(ImportError):
        import sitecustomize  # noqa: F401
    match arguments:
        case ["-m", module, *rest]:
            sys.path.insert(0, folder)
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.path.insert(0, "")
            sys.argv = ["-c", *rest]
            sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), vars(sys.modules["__main__"]))
        case [script, *_]:
            sys.path.insert(0, str(Path(script).parent))
            sys.argv = arguments
            runpy.run_path(script, run_name="__main__")


def start(folder: Path, *arguments: str) -> Process:
    """A run in `folder` with what COMMON and `arguments` say."""
    return Process("-m", "nfft.finetune", *COMMON, *arguments, "--output-dir", folder)


def wait_for_step(process: Process, folder: Path, step: int) -> None:
    """Return once the run has recorded `step`."""
    recorded = folder / "metrics.jsonl"
    while not (recorded.is_file() and f'"kind": "train", "step": {step},' in recorded.read_text()):
        # The core is the process's own meanwhile.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
            pytest.fail(f"it ended before step {step}: {process.communicate()}")


def metrics(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]
