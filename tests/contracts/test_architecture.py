"""Each dependency has one door, the command answers before anything heavy loads, and nothing shadows a package.

That imports go down, from room to room, is import-linter's to see (pyproject.toml).
"""

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import nfft
from nfft.cli import COMMANDS

PACKAGE = Path(nfft.__file__).parent
REPOSITORY = PACKAGE.parent
MODULES = sorted(str(path.relative_to(PACKAGE).with_suffix("")).replace("/", ".") for path in PACKAGE.rglob("*.py"))
# Who may import what is made for one job. An entry is a module, or a room.
DOORS = {
    "datasets": {"data.sources"},
    # The card's metadata are the Hub's own class, and where it keeps what it fetches is its own to say.
    "huggingface_hub": {"hub", "reporting.card_metadata", "data.sources.dataset", "data.sources.dataset_table"},
    "matplotlib": {"reporting.plots", "experiments.plots"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "jinja2": {"reporting.model_card"},
    "markdown_it": {"reporting.card_merge"},
    "pyarrow": {"data.sources"},
    "peft": {"models.lora", "models.adapter", "methods.lora", "training.base", "config.method"},
    "safetensors": {
        "training.checkpointing",
        "training.teacher",
        "models.build",
        "models.tensors",
        "models.validation",
    },
    "triton": {"optim.step_triton"},
}
# Folders of files that are found by their name.
PLUGINS = ("nfft.tasks", "nfft.recipes", "nfft.methods", "nfft.studies", "tasks")


def imports(module: str) -> set[str]:
    """Dotted names of all that a module of the package imports, wherever in the file."""
    return imports_of(PACKAGE / f"{module.replace('.', '/')}.py")


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("dependency", DOORS)
def test_each_dependency_has_one_door(dependency: str) -> None:
    users = {module for module in MODULES if any(name.split(".")[0] == dependency for name in imports(module))}
    doors = DOORS[dependency]
    strangers = {user for user in users if not any(user == door or user.startswith(f"{door}.") for door in doors)}
    assert users
    assert not strangers


def test_only_the_registry_imports_what_it_finds() -> None:
    for module in MODULES:
        if not module.startswith(("methods.", "recipes.")) and module != "config.registry":
            assert not [name for name in imports(module) if name.startswith(PLUGINS)], module


def test_each_room_says_what_it_is_for_and_is_packaged() -> None:
    packages = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    rooms = {path.parent for path in PACKAGE.rglob("*.py")}
    named = {".".join(("nfft", *room.relative_to(PACKAGE).parts)) for room in rooms}
    assert named | {"nfft.tasks", "nfft.cards", "nfft.studies"} == set(packages)
    for room in rooms:
        assert ast.get_docstring(ast.parse((room / "__init__.py").read_text())), room


def test_no_test_imports_another() -> None:
    # What tests share is in tests/support and in fixtures: any of them runs alone.
    for file in (REPOSITORY / "tests").rglob("*.py"):
        parts = {part for name in imports_of(file) for part in name.split(".")}
        assert not [part for part in parts if part in ("tests", "conftest") or part.startswith("test_")], file


def test_no_module_hides_another() -> None:
    # A script that is run by its path has its own folder first among those that modules are looked up in.
    taken = set(sys.stdlib_module_names) | (set(metadata.packages_distributions()) - {"nfft"})
    taken -= {"__init__", "__main__"}
    assert not taken & {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}


@pytest.mark.parametrize("module", ["finetune", "config.task", "config.recipe", "config.registry", "cli.main"])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    assert heavy_after(module) == "[]"


def test_a_run_does_not_wait_for_libraries_that_it_may_never_need() -> None:
    loaded = heavy_after("training.run")
    assert "torch" in loaded
    assert not any(name in loaded for name in ("datasets", "sklearn", "matplotlib"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_what_it_is_for_before_anything_heavy_is_imported(command: str) -> None:
    assert heavy_after(f"cli.{command}") == "[]"


def test_the_list_of_commands_is_told_without_them() -> None:
    # Most of what they import are dataclasses, which take longer to make than all the rest of the list.
    code = (
        "import sys; from nfft.cli.main import main; sys.argv = ['nfft', '--help']; main(); print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *listed, imported = done.stdout.splitlines()
    assert [line.split()[0] for line in listed[3:-2]] == list(COMMANDS)
    assert not {"'argparse'", "'dataclasses'"} & {*imported.strip("[]").split(", ")}


def heavy_after(module: str) -> str:
    """What of the slow libraries a new process has loaded once it has imported `module`."""
    heavy = ("torch", "numpy", "timm", "accelerate", "datasets", "sklearn", "matplotlib", "PIL", "huggingface_hub")
    code = f"import sys, nfft.{module}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", [name for name in nfft.__all__ if name != "__version__"])
def test_public_names_lead_somewhere(name: str) -> None:
    assert getattr(nfft, name) is not None
    assert name in dir(nfft)
