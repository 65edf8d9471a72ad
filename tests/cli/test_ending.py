"""How commands end as processes of their own."""

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
COMMAND = """
import argparse, os, signal, sys, time
from nfft.cli import ending
from nfft.cli.errors import run_command

ending.ENDING_SECONDS = 1

def work(options):
    {work}
    return 0

{setup}
sys.exit(ending.as_process(lambda: run_command(work, argparse.Namespace())))
"""

# Whoever starts the tests may have left it ignored.
HEARD = "signal.signal(signal.SIGHUP, signal.SIG_DFL); signal.signal(signal.SIGINT, signal.default_int_handler)"


def ended(work: str, setup: str = HEARD) -> tuple[int, str]:
    """The status, and what is said, of a command that does `work`."""
    code = COMMAND.format(setup=setup, work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("SIGINT", 130, "nfft: interrupted"),
        ("SIGTERM", 143, "nfft: ended by SIGTERM"),
        ("SIGHUP", 129, "nfft: ended by SIGHUP"),
    ],
)
def test_a_signal_is_told_and_on_the_way_out_no_other_disturbs(name: str, status: int, said: str) -> None:
    send = f"os.kill(os.getpid(), signal.{name})"
    assert ended(f"""
    try: {send}; time.sleep(60)
    finally: {send}; {send}""") == (status, said)


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    ignored = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    assert ended("os.kill(os.getpid(), signal.SIGHUP)", ignored) == (0, "")


def test_a_library_that_takes_the_signal_for_its_own_error_ends_too() -> None:
    assert ended("""
    try: os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)
    except BaseException: time.sleep(60)""") == (-signal.SIGALRM, "")
