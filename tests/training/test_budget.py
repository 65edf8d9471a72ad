"""Minutes become steps: as many as fit, of which the trial leaves no trace, and a run that goes on keeps them."""

from dataclasses import replace
from pathlib import Path

import pytest
import small_recipe
from safetensors.torch import load_file

import nfft
from nfft.config.recipe import Recipe
from nfft.errors import UserError
from nfft.training import trainer
from nfft.training.budget import Pace, fitted

RECIPE = replace(small_recipe.RECIPE, total_steps=None, minutes=10)
SHORT = {"batch_size": 16, "train_resolution": 32, "test_resolution": 32, "seed": 3}


@pytest.mark.parametrize("pace", [Pace(0.25, 1, 5), Pace(2, 0.01, 4), Pace(0.5, 100, 210), Pace(30, 60, 70)], ids=str)
@pytest.mark.parametrize("spent", [0, 60])
def test_a_run_ends_within_a_step_of_its_minutes(pace: Pace, spent: float) -> None:
    settled = fitted(RECIPE, pace, spent)
    assert settled.total_steps is not None and 1 <= settled.evaluations <= min(10, settled.total_steps)
    on_the_way = (settled.evaluations - 1) * pace.score
    ends = spent + settled.total_steps * pace.step + on_the_way + pace.end
    assert 600 - pace.step < ends <= 600
    assert on_the_way <= 0.15 * 600
    assert settled == replace(RECIPE, total_steps=settled.total_steps, evaluations=settled.evaluations)


def test_minutes_that_are_too_few() -> None:
    with pytest.raises(
        UserError, match=r"--minutes 0.5 is too short: the start took 20 s here, .* Use --minutes 0.7 or"
    ):
        fitted(replace(RECIPE, minutes=0.5), Pace(step=1, score=2, end=12), spent=20)


@pytest.mark.parametrize("changes", [{"epochs": 1}, {"total_steps": 3}])
def test_one_duration(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(nfft.UserError, match=r"exactly one of .*; got .*, minutes=2\. Give --steps, --epochs or"):
        nfft.fine_tune("digits", minutes=2, output_dir=tmp_path / "run", **changes)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_it_is_the_run_of_so_many_steps_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    plans = []

    def three_steps(recipe: Recipe, pace: Pace, spent: float) -> Recipe:
        plans.append((pace, spent))
        return replace(recipe, total_steps=3, evaluations=2)

    monkeypatch.setattr(trainer, "fitted", three_steps)
    planned = nfft.fine_tune("digits", minutes=0.01, method=method, output_dir=tmp_path / "minutes", **SHORT)
    settings = {"total_steps": 3, "evaluations": 2}
    plain = nfft.fine_tune("digits", **settings, method=method, output_dir=tmp_path / "steps", **SHORT)
    ((pace, spent),) = plans
    assert pace.step > 0 and 0 < pace.score < pace.end and spent > 0
    (one, two) = (load_file(next(run.folder.glob("*model.safetensors"))) for run in (planned, plain))
    assert all(one[name].equal(two[name]) for name in one)
    recorded = planned.record.recipe.settings
    assert (recorded["minutes"], recorded["total_steps"], recorded["evaluations"]) == (0.01, 3, 2)
    # Taken up where it is slower or faster, it is still the run that was planned.
    again = nfft.fine_tune("digits", minutes=0.01, method=method, output_dir=tmp_path / "minutes", resume=True, **SHORT)
    assert again.results.training.steps == 3 and len(plans) == 1
