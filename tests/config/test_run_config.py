"""What a run is asked to be is checked before anything is fetched."""

import re
from typing import Any

import pytest

from nfft.config.run_config import LARGEST_SEED, RunConfig
from nfft.errors import UserError


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seed": -1}, "--seed must be between 0 and 4294967295; got -1."),
        ({"seed": LARGEST_SEED + 1}, "--seed must be between 0 and 4294967295; got 4294967296."),
        ({"seed": 1.0}, "seed must be a whole number; got 1.0."),
        ({"shots": 0}, "--shots must be at least 1; got 0."),
        ({"shots": True}, "shots must be a whole number or none; got True."),
        ({"resume": "yes"}, "resume must be true or false; got 'yes'."),
        ({"precision": "bf61"}, "unknown precision 'bf61'; did you mean 'bf16'"),
    ],
)
def test_refuses(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(said)}"):
        RunConfig(task="digits", **settings)
