"""A task holds what its fields are for, within their bounds."""

from typing import Any

import pytest

from nfft.config.task import Task
from nfft.errors import UserError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"validation_fraction": 0},
            r"validation_fraction must be between 1e-06 and 1; got 0. Change it with --set task",
        ),
        ({"validation_fraction": float("nan")}, "validation_fraction must be between 1e-06 and 1; got nan"),
        ({"test_fraction": -0.1}, "test_fraction must be between 0 and 1; got -0.1"),
        ({"max_broken_fraction": 1.1}, "max_broken_fraction must be between 0 and 1; got 1.1"),
        ({"test_fraction": "0.1"}, r"test_fraction must be a number; got '0\.1'\.$"),
        ({"train_images": 1}, r"train_images must be at least 2; got 1\.$"),
        ({"train_images": 2.5}, r"train_images must be a whole number or none; got 2\.5\.$"),
        ({"label": 3}, r"label must be text or none; got 3\.$"),
        ({"metric": "top2"}, "unknown metric 'top2'; did you mean 'top1'"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
    ],
)
def test_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}" if "leave" not in message else message):
        Task(name="mine", source="me/mine", **settings)


def test_takes_what_its_bounds_hold() -> None:
    task = Task(name="mine", source="me/mine", validation_fraction=1e-6, test_fraction=0, max_broken_fraction=1)
    assert (task.validation_fraction, task.test_fraction, task.max_broken_fraction) == (1e-6, 0, 1)
