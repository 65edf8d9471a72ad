"""A checkpoint that is whole is this run's, or is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import small_recipe
from accelerate import Accelerator
from damage import damaged
from loop import Loop
from torch import nn

from nfft.errors import UserError
from nfft.training.checkpointing import save_checkpoint
from nfft.training.step import prepare_training

FACTS = {"seconds": 9.5, "scaler": None, "tally": {"steps": 3, "seconds": 9.0, "clipped": 0.5}}
RECIPE = replace(small_recipe.RECIPE, total_steps=8, lr=0.5, test_margin=0)


class Tiny(nn.Linear):
    """A classifier and nothing else."""

    def get_classifier(self) -> nn.Module:
        return self


def test_facts_of_something_else_are_refused(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    training = prepare_training(Tiny(2, 3), RECIPE, accelerator)
    loop = Loop(training, iter([]), RECIPE, accelerator, total_steps=8)
    loop.folder = tmp_path
    refused = 0
    for facts in damaged(FACTS):
        if not isinstance(facts, dict):
            continue
        saved = save_checkpoint(tmp_path / "checkpoints", 3, training.state(), facts)
        try:
            loop.restore()
        except UserError as error:
            refused += 1
            assert str(error).startswith(f"{saved} is no checkpoint of this run (")
        else:
            assert loop.training.step == 3
    assert refused > 5
    save_checkpoint(tmp_path / "checkpoints", 4, {}, FACTS)
    with pytest.raises(UserError, match=r"no checkpoint of this run \('model\."):
        loop.restore()
