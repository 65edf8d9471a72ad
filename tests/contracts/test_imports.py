"""Imports go strictly downward, each dependency has one door, and the command answers before anything heavy loads."""

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import nfft

PACKAGE = Path(nfft.__file__).parent
# A module imports from those before it. A new module goes where its own imports allow.
ORDER = [
    "errors", "intervals", "files", "agc", "groups", "ema", "sam", "schedule", "standardisation", "architectures",
    "memory", "interrupt", "report", "text", "plot", "recipe", "task", "method", "randaugment", "preprocess",
    "run", "invocation", "grid", "study", "card_text", "findings", "plot_methods", "catalog", "checkpoint",
    "vetting", "layout", "lora", "folding", "adapter", "model", "paper", "card_parts", "card_metadata", "card",
    "hub", "auto", "formats", "request", "settings", "options", "columns", "image_folder", "source", "table",
    "data", "parallel", "decoded", "scan", "device", "loader", "score", "update_triton", "update", "train", "plan",
    "job", "fit", "features", "logistic", "probe", "command", "publish", "finetune", "evaluation", "quantisation",
    "cli",
]  # fmt: skip
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
COMMANDS = sorted(f"commands/{path.stem}" for path in PACKAGE.glob("commands/*.py") if path.stem != "__init__")
DOORS = {
    "datasets": {"columns", "image_folder", "source", "table"},
    # The card's metadata are the Hub's own class, and where it keeps what it fetches is its own to say.
    "huggingface_hub": {"hub", "card_metadata", "table"},
    "matplotlib": {"plot", "plot_methods"},
    "onnx": {"formats"},
    "onnxruntime": {"formats", "quantisation"},
    "jinja2": {"card"},
    "markdown_it": {"card_parts"},
    "peft": {"lora", "adapter", "job", "method"},
    "safetensors": {"checkpoint", "files", "model", "vetting"},
    "triton": {"update_triton"},
}


def imports(module: str) -> set[str]:
    """Dotted names of all that `module` imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(module: str) -> set[str]:
    """The modules of the package that `module` imports."""
    parts = [name.split(".") for name in imports(module) if name.startswith("nfft.")]
    return {name[1] for name in parts if name[1] in MODULES}


def test_order_lists_every_module_once() -> None:
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downward(module: str) -> None:
    above = set(ORDER[ORDER.index(module) :])
    assert not own(module) & above
    assert not any(name.startswith("nfft.commands") for name in imports(module))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_no_other(command: str) -> None:
    assert not any(name.startswith(("nfft.commands", "nfft.cli")) for name in imports(command))


@pytest.mark.parametrize("dependency", DOORS)
def test_each_dependency_has_one_door(dependency: str) -> None:
    users = {
        module for module in MODULES + COMMANDS if any(name.split(".")[0] == dependency for name in imports(module))
    }
    assert users == DOORS[dependency]


def test_only_the_catalog_imports_what_it_finds() -> None:
    found = ("nfft.tasks", "nfft.recipes", "nfft.methods", "nfft.studies", "tasks")
    for module in set(MODULES + COMMANDS) - {"catalog"}:
        files = [name for name in imports(module) if name.startswith(found)]
        assert not files, f"{module} imports {files}"


def test_no_module_hides_another() -> None:
    # A script that is run by its path has its own folder first among those that modules are looked up in.
    taken = set(sys.stdlib_module_names) | (set(metadata.packages_distributions()) - {"nfft"})
    assert not taken & set(MODULES)
    assert not taken & {folder.name for folder in PACKAGE.iterdir() if folder.is_dir()}


@pytest.mark.parametrize("module", ["cli", "task", "recipe", "catalog", "finetune", *COMMANDS])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    heavy = ("torch", "numpy", "timm", "accelerate", "datasets", "sklearn", "matplotlib", "PIL", "huggingface_hub")
    code = f"import sys, nfft.{module.replace('/', '.')}; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["agc", "ema", "sam", "schedule", "groups"])
def test_the_papers_pieces_can_be_used_alone(module: str) -> None:
    assert own(module) == set()
    assert {name.split(".")[0] for name in imports(module)} <= {"torch", "math", "collections", "contextlib", "typing"}
