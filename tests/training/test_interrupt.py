"""A run that is told to stop stops in its own time; one that is to go on without a terminal goes on."""

import os
import signal
from collections.abc import Iterator

import pytest

from nfft.training.interrupt import SIGNALS, Interrupt


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_remembered(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)
    with Interrupt() as interrupt:
        assert not interrupt.requested()
        os.kill(os.getpid(), number)
        assert interrupt.requested()
        assert interrupt.exit_status == 128 + number
        assert signal.getsignal(number) == signal.SIG_DFL, "the second acts as usual"


def test_a_terminal_that_is_closed_under_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not interrupt.requested()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
