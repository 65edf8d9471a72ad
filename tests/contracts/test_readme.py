"""What the README says can be typed, can be typed; what it lists and links exists."""

import re
import shlex
from pathlib import Path

import pytest

from nfft import catalog, options
from nfft.recipe import Recipe, read_changes
from nfft.task import Task

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
COMMANDS = [
    line.split("#")[0].strip()
    for line in re.findall(r"^ {4}(.*(?:nfft finetune|nfft/finetune\.py).*)$", README, flags=re.MULTILINE)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    words = shlex.split(re.split(r"nfft finetune|nfft/finetune\.py", command, maxsplit=1)[1])
    request = options.request(options.parser().parse_args(words))
    assert request.task == words[words.index("--task") + 1]
    catalog.recipe(request.recipe)
    changes = request.changes
    read_changes(Task, {name[5:]: text for name, text in changes.items() if name.startswith("task.")}, whose="task")
    read_changes(Recipe, {name: text for name, text in changes.items() if "." not in name}, whose="recipe")


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 5


def test_every_task_and_recipe_is_listed() -> None:
    for name in catalog.names("tasks") + [name.replace("_", "-") for name in catalog.names("recipes")]:
        assert f"`{name}`" in README, name


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (REPOSITORY / link).exists()
