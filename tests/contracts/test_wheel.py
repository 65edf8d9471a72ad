"""The wheel works outside the repository: tasks, recipes, studies, cards and packaged checkpoint come along."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_trains_from_the_packaged_checkpoint(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*build, str(REPOSITORY), "--wheel-dir", str(tmp_path)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("nfnet_finetune-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nfft"}

    # Ahead of the repository's own installation on the path.
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "nfft", "finetune", "--task", "digits", "--steps", "2"]
    command += ["--batch-size", "16", "--set", "evaluations=1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "model   nfnet-nano: test_nfnet" in done.stdout
    assert (tmp_path / "runs" / "digits-nfnet-nano" / "README.md").is_file()

    where = [
        sys.executable,
        "-c",
        "import nfft.cli.predict, nfft.tasks, nfft.cards, nfft.studies.transfer as study, os; "
        "print(nfft.tasks.__file__, nfft.cards.__file__, study.__file__); "
        "assert os.path.isfile(os.path.join(os.path.dirname(nfft.cards.__file__), 'study.md'))",
    ]
    told = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert all(path.startswith(str(tmp_path / "site" / "nfft")) for path in told.split())
