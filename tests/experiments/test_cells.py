"""A study's runs follow from its file: one for each row, column and seed, each network pre-trained once a seed."""

import pytest

from nfft.cli import finetune
from nfft.cli.arguments import run_config_of
from nfft.config import registry
from nfft.config.overrides import read_changes
from nfft.config.recipe import Recipe
from nfft.config.study import Pretrained, Study
from nfft.errors import UserError
from nfft.experiments.cells import Changes, in_order, places, tasks_of

SOURCE = Pretrained("Net A", {"task": "many", "model": "scratch:a", "epochs": 2, "ema_decay": None})


def study(**changed: object) -> Study:
    parts = {
        "name": "s", "title": "t", "question": "q", "paper": "p", "budget": "b", "row_label": "Row",
        "rows": {"off": {"model": SOURCE}, "on": {"model": SOURCE, "sam_rho": 0.05}, "new": {"model": "scratch:a"}},
        "columns": {"few, 32 px": {"task": "few"}, "more": {"task": "more", "lr": 0.3}},
        "shared": {"recipe": "auto", "lr": 0.1, "flip": False},
        "pairs": (("off", "on"),),
    }  # fmt: skip
    return Study(**(parts | changed))  # type: ignore[arg-type]


def test_a_run_for_each_row_column_and_seed() -> None:
    table = places(study(), 2, Changes())
    assert len({place.cell.name for place in table}) == len(table) == 3 * 2 * 2
    assert [place.seed for place in table] == [0] * 6 + [1] * 6
    chosen = next(place.cell for place in table if place.cell.name == "on/few-32-px-1")
    assert chosen.start is not None and chosen.start.name == "pre-trained/net-a-1"
    given = run_config_of(finetune.parser().parse_args([*chosen.arguments]))
    assert (given.task, given.recipe, given.seed) == ("few", "auto", 1)
    assert read_changes(Recipe, given.settings, whose="recipe") == {"lr": 0.1, "flip": False, "sam_rho": 0.05}


def test_a_columns_setting_wins_over_a_rows_and_the_users_over_all() -> None:
    def rate(changes: Changes) -> str:
        (found,) = (place.cell for place in places(study(), 1, changes) if place.cell.name == "on/more-0")
        return finetune.parser().parse_args([*found.arguments]).lr

    assert rate(Changes()) == "0.3"
    assert rate(Changes(runs={"lr": "0.7"})) == "0.7"


def test_what_a_run_starts_from_comes_before_it_and_once() -> None:
    table = places(study(), 2, Changes())
    names = [cell.name for cell in in_order(table)]
    assert len(names) == len(set(names)) == 12 + 2
    for place in table:
        if place.cell.start is not None:
            assert names.index(place.cell.start.name) < names.index(place.cell.name)


@pytest.mark.parametrize("duration", ["steps", "total_steps", "epochs"])
def test_a_duration_replaces_any_other(duration: str) -> None:
    changes = Changes({}, {duration: "5"}, {duration: "7"})
    asked = study(shared={"recipe": "auto", "steps": 100})
    for cell in in_order(places(asked, 1, changes)):
        given = run_config_of(finetune.parser().parse_args([*cell.arguments]))
        wanted = "7" if cell.name.startswith("pre-trained") else "5"
        name = "epochs" if duration == "epochs" else "total_steps"
        assert {each: text for each, text in given.settings.items() if each in ("epochs", "total_steps")} == {
            name: wanted
        }


def test_the_user_names_data_and_settings() -> None:
    changes = Changes({"many": "/data/many", "few": "/data/few"}, {}, {"epochs": "1"})
    cells = {cell.name: cell.arguments for cell in in_order(places(study(), 1, changes))}
    source = finetune.parser().parse_args([*cells["pre-trained/net-a-0"]])
    assert (source.task, source.epochs, source.set) == ("/data/many", "1", ["ema_decay=none"])
    assert finetune.parser().parse_args([*cells["off/few-32-px-0"]]).task == "/data/few"
    assert tasks_of(study()) == {"many", "few", "more"}


@pytest.mark.parametrize(
    "changed",
    [
        {"pairs": (("off", "of"),)},
        {"rows": {"a b": {"model": "m"}, "a-b": {"model": "m"}}, "pairs": ()},
        {"columns": {"x?": {"task": "t"}, "x": {"task": "t"}}},
        {"columns": {"λ": {"task": "t"}}},
        {"columns": {"x": {}}},
        {"weights": "best"},
    ],
)
def test_a_study_that_contradicts_itself(changed: dict) -> None:
    with pytest.raises(UserError, match=r"study s: "):
        study(**changed)


def test_two_ways_to_pretrain_under_one_name() -> None:
    other = Pretrained("net a", {**SOURCE.settings, "epochs": 3})
    twice = study(rows={"off": {"model": SOURCE}, "on": {"model": other}})
    with pytest.raises(UserError, match="in two ways"):
        in_order(places(twice, 1, Changes()))


@pytest.mark.parametrize("name", registry.names("studies"))
def test_every_study_can_be_asked_for(name: str) -> None:
    found = registry.study(name.replace("_", "-"))
    assert found.name == name.replace("_", "-")
    changes = Changes(dict.fromkeys(tasks_of(found), "digits"))
    for cell in in_order(places(found, 1, changes)):
        asked = run_config_of(finetune.parser().parse_args([*cell.arguments]))
        changed = {each: value for each, value in asked.settings.items() if "." not in each}
        read_changes(Recipe, changed, whose="recipe")
        registry.recipe(asked.recipe)


def test_the_arguments_of_a_run_and_its_config_say_the_same() -> None:
    shared = {"recipe": "auto", "model_arg": "depths=3", "method": "lora", "method.rank": 4, "shots": 5, "steps": 100}
    changes = Changes({"few": "/data/few"}, {"lr": "0.7"}, {"epochs": "1"})
    for cell in in_order(places(study(shared=shared), 2, changes)):
        assert run_config_of(finetune.parser().parse_args([*cell.arguments])) == cell.config
