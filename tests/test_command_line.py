"""A command that others read says what was typed, and not where files lie."""

import shlex
import sys

import pytest

from nfft.command_line import command, public_command

TYPED = [
    ("nfft study sam --data cifar10=/home/a/data/cifar10", "nfft study sam --data cifar10=path/to/cifar10"),
    ("nfft finetune --task '~/photos/birds' --model runs/x", "nfft finetune --task path/to/birds --model runs/x"),
    (
        "nfft finetune --output-dir=/tmp/out --set task.source=../a/b",
        "nfft finetune --output-dir=path/to/out --set task.source=path/to/b",
    ),
    ("nfft finetune --task '/data/a=b/c d'", "nfft finetune --task 'path/to/c d'"),
    ("nfft finetune --set lr=0.1 --set task.label=a/b", "nfft finetune --set lr=0.1 --set task.label=a/b"),
    (r"nfft push 'C:\runs\x' user/x", "nfft push path/to/x user/x"),
]


@pytest.mark.parametrize(("typed", "public"), TYPED)
def test_paths_are_names(typed: str, public: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(typed))
    for name in ("RANK", "WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    assert command() == typed
    assert public_command() == public
