"""Some seconds of what `python -m fuzz` does at length: what strangers hand in is read or refused in a sentence."""

from pathlib import Path

import pytest
from processes import run

CLONE = Path(__file__).parents[2]


@pytest.mark.slow
def test_what_strangers_hand_in_is_read_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hypothesis")
    done = run("-m", "fuzz", "--cases", "1000", "--seed", "20261128", cwd=CLONE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed: none" in done.stdout
