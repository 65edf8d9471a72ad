"""What every task and every recipe keeps, so that adding one is adding a file."""

import re
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import pytest

import nfft
from nfft.config import registry
from nfft.config.overrides import read_changes
from nfft.config.recipe import Facts, Recipe, change
from nfft.config.task import Task
from nfft.errors import UserError

ROOT = Path(nfft.__file__).parents[1]
TASKS, RECIPES = registry.names("tasks"), registry.names("recipes")

# Name, train px and test px.
ARCHITECTURES = [
    ("dm_nfnet_f0", 192, 256),
    ("eca_nfnet_l0", 224, 288),
    ("nf_resnet50", 256, 288),
    ("test_nfnet", 160, 160),
]
FACTS = [
    Facts(images, classes, side, architecture, train_side, test_side, pretrained)
    for images, classes, side, (architecture, train_side, test_side), pretrained in product(
        [10, 16, 31, 100, 1_000, 10_000, 100_000, 1_300_000],
        [2, 10, 1_000],
        [8, 31, 32, 64, 224, 500],
        ARCHITECTURES,
        [True, False],
    )
    if classes <= images
]


def test_all_files_are_found() -> None:
    for kind, folder in (("tasks", ROOT / "tasks"), ("recipes", ROOT / "nfft" / "recipes")):
        stems = {path.stem for path in folder.glob("*.py")} - {"__init__"}
        assert stems == set(registry.names(kind))
    assert "digits" in TASKS
    assert "auto" in RECIPES


@pytest.mark.parametrize("name", TASKS)
def test_task(name: str) -> None:
    task = registry.task(name)
    assert isinstance(task, Task)
    assert task.name == name
    assert task.source
    assert set(task.suggests) <= {field.name for field in fields(Recipe)}
    assert task.metric in ("top1", "mean_per_class")
    for text in (task.title, task.homepage, task.citation):
        assert text is not None, "the model card quotes it"
        assert "\n" not in text
    assert task.homepage is not None
    assert task.homepage.startswith("https://")


@pytest.mark.parametrize("name", TASKS)
def test_what_a_task_suggests_fits_every_recipe(name: str) -> None:
    suggests = read_changes(Recipe, registry.task(name).suggests, whose="recipe")
    for recipe in RECIPES:
        settled = change(registry.recipe(recipe)(FACTS[-1]), suggests)
        assert {field: getattr(settled, field) for field in suggests} == suggests


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_valid_whatever_the_facts(name: str) -> None:
    make = registry.recipe(name)
    for facts in FACTS:
        recipe = make(facts)
        assert isinstance(recipe, Recipe)
        assert make(replace(facts)) == recipe, "a recipe depends on the facts alone"
        assert recipe.test_resolution >= recipe.train_resolution
        assert recipe.train_resolution >= 32, "NFNets shrink images 32 times"
        assert recipe.steps(facts.images) >= 1
        assert recipe.batch_size % 2 == 0, "images are mixed in pairs"


@pytest.mark.parametrize("images", sorted({facts.images for facts in FACTS}))
def test_the_default_recipe_fits_any_data(images: int) -> None:
    for facts in FACTS:
        if facts.images == images:
            assert registry.recipe("auto")(facts).batch_size <= images


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_named_with_hyphens_or_underscores(name: str) -> None:
    assert registry.recipe(name.replace("_", "-")) is registry.recipe(name)


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_file_says_what_it_is_for(name: str) -> None:
    source = (ROOT / "nfft" / "recipes" / f"{name}.py").read_text()
    assert source.startswith(f'"""{name.replace("_", "-")}: ')


def test_misspelled_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown task 'digit'; did you mean 'digits'"):
        registry.task("digit")
    with pytest.raises(UserError, match="unknown recipe 'atuo'; did you mean 'auto'"):
        registry.recipe("atuo")
    for find in (registry.task, registry.recipe, registry.method, registry.study):
        with pytest.raises(UserError, match=r"unknown \w+ '9+…9+'; known: "):
            find("9" * 200)


def test_a_task_can_be_a_file_a_folder_a_table_or_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "table.csv").write_text("image,label\n")
    (tmp_path / "mine.py").write_text("from nfft import Task\nTASK = Task(name='mine', source='me/mine')\n")
    assert registry.task(str(tmp_path / "photos")) == Task(name="photos", source=str(tmp_path / "photos"))
    assert registry.task(str(tmp_path / "table.csv")).name == "table"
    assert registry.task(str(tmp_path / "mine.py")).source == "me/mine"
    assert registry.task("someone/birds") == Task(name="birds", source="someone/birds")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", r"must define TASK = Task\(\.\.\.\)"),
        ("1 / 0", "does not run: ZeroDivisionError"),
        ("def", "does not run: SyntaxError"),
        ("import sys; sys.exit(3)", r"ends the program \(exit status 3\) where it should only define TASK"),
        ("import sys; sys.exit('x' * 10**6)", r"ends the program \(exit status 'xxx.{,80}\) where it should"),
        ("raise ValueError('x' * 10**6)", "does not run: ValueError: x.{,300}$"),
        ("from nfft import Task\nTASK = Task(name=5, source='a/b')", "does not run: UserError: name must be .*; got 5"),
        (
            "from nfft import Task\nTASK = Task(name='a', source='a/b', metric=[[[[]]]])",
            "does not run: UserError: metric",
        ),
        ("import nfft_absent", "does not run: ModuleNotFoundError: No module named 'nfft_absent'"),
        ("from nfft.task import Task", r"there is no nfft\.task any more\. Use `from nfft import Task`\.$"),
        (
            "from nfft import Task\nTASK = Task(name='a', source='a/b', licence='MIT')",
            r"mine\.py was written for an older release: its field licence is called license now\. Rename it\.$",
        ),
    ],
)
def test_a_task_file_that_is_none(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(content)
    with pytest.raises(UserError, match=message):
        registry.task(str(tmp_path / "mine.py"))


@pytest.mark.parametrize("name", ["absent.csv", "./absent", "/absent/x", "~/absent-folder", "absent.py", "a/b/c"])
def test_a_path_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no such file or folder"):
        registry.task(name)


def test_a_study_file_of_an_older_release(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from nfft.study import Study\n")
    with pytest.raises(UserError, match=r"there is no nfft\.study any more\. Use `from nfft import Study`\.$"):
        registry.study(str(tmp_path / "mine.py"))


@pytest.mark.parametrize("path", [*ROOT.glob("tasks/*.py"), *ROOT.glob("studies/*.py")], ids=lambda path: path.stem)
def test_files_to_copy_import_what_is_public(path: Path) -> None:
    assert not re.search(r"^from nfft\.config\.\w+ import (?!Settings$)", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("images", "classes", "pretrained", "epochs", "rate", "mixes"),
    [
        (20, 5, True, 76.6, 0.05, True),
        (220, 2, True, 18.2, 0.1, False),
        (2_640, 5, True, 16.6, 0.1, False),
        (1_281_167, 1_000, True, 8.2, 0.1, True),
        (2_640, 5, False, 36.8, 0.1, False),
    ],
)
def test_auto_by_images_of_a_class(
    images: int, classes: int, pretrained: bool, epochs: float, rate: float, mixes: bool
) -> None:
    facts = Facts(images, classes, 150, "test_nfnet", 48, 48, pretrained)
    settled = registry.recipe("auto")(facts)
    assert settled.epochs == pytest.approx(epochs, abs=0.1)
    assert settled.lr == pytest.approx(rate, abs=0.001)
    assert settled.cutmix == (settled.mixup is not None) == mixes


@pytest.mark.parametrize(("validation", "evaluations"), [(0, 10), (10, 10), (290, 5), (10_000, 1)])
def test_auto_scores_on_the_way_for_a_tenth_of_the_time_at_most(validation: int, evaluations: int) -> None:
    settled = registry.recipe("auto")(Facts(100, 5, 150, "test_nfnet", 48, 48, True, validation=validation))
    assert settled.evaluations == evaluations
    # An image costs three times as much in a step as in a score; the last score is not on the way.
    assert (evaluations - 1) * validation <= 0.1 * 3 * settled.epochs * 100
