"""Finds tasks, recipes, methods and studies by file name: the only importer of the folders they are in."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from nfft.config.data_files import check_file, ending
from nfft.config.method import Method
from nfft.config.recipe import Facts, Recipe
from nfft.config.study import Study
from nfft.config.task import Task
from nfft.errors import UserError, nearest
from nfft.files import expanded, is_path
from nfft.text import shorten

T = TypeVar("T")
# Methods of peft's, and the options that come closest to them here.
INSTEAD = {
    **dict.fromkeys(("adalora", "boft", "hra", "ia3", "loha", "lokr", "oft", "vera"), "--method lora"),
    "dora": "--method lora --set method.dora=true",
}


def names(kind: str) -> list[str]:
    """Stems of the files in the package `nfft.<kind>`: "tasks", "recipes", "methods", "studies", "export.formats"."""
    package = importlib.import_module(f"nfft.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def task(name: str) -> Task:
    """The task called `name`, or that of a task file, a folder, a data file or a dataset id on the Hub.

    Raises:
        UserError: when `name` is none of these; it lists the nearest names.
    """
    known = names("tasks")
    if name in known:
        return importlib.import_module(f"nfft.tasks.{name}").TASK
    path = expanded(name)
    if path.suffix == ".py" and path.is_file():
        return _declared(path, "task", Task, "tasks/digits.py")
    if _exists(path):
        if not path.is_dir():
            check_file(path)
        # What begins with ~ and is no home folder stays what it is.
        source = path.absolute() if str(path).startswith("~") else path
        return Task(name=path.absolute().stem if path.is_symlink() else path.resolve().stem, source=str(source))
    if is_path(name) or ending(name) or path.suffix == ".py":
        raise UserError(f"--task {shorten(name, 200)}: there is no such file or folder.")
    if "/" in name:
        return Task(name=name.split("/")[1], source=name)
    raise UserError(
        f"unknown task {name!r}; {nearest(name, known)} "
        "A folder of images, a CSV or Parquet file, or a dataset id such as user/name works too."
    )


def _exists(path: Path) -> bool:
    """Whether there is something at a path, which may be too long, or hold what no path does."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def recipe(name: str) -> Callable[[Facts], Recipe]:
    """The function that makes recipe `name` from the facts of a run."""
    return _file("recipes", "recipe", name).recipe


def method(name: str) -> Method:
    """The method called `name`, with its own settings.

    Raises:
        UserError: when there is none; for those of peft's, with the reason.
    """
    if (instead := INSTEAD.get(name.lower())) is not None:
        raise UserError(
            f"--method {name} is not offered: on weight-standardised convolutions peft's own layers lose 80 to 100 % "
            f"of what was learned when they are merged, without a word, or do not work at all. Use {instead}."
        )
    return _file("methods", "method", name).METHOD


def study(name: str) -> Study:
    """The study called `name`, or that of a study file."""
    path = expanded(name)
    if path.suffix == ".py" and path.is_file():
        return _declared(path, "study", Study, "studies/transfer.py")
    if path.suffix == ".py":
        raise UserError(f"nfft study {name}: there is no such file.")
    return _file("studies", "study", name).STUDY


def _file(kind: str, what: str, name: str) -> ModuleType:
    known, module = names(kind), name.replace("-", "_")
    if module not in known:
        raise UserError(f"unknown {what} {name!r}; {nearest(name, [stem.replace('_', '-') for stem in known])}")
    return importlib.import_module(f"nfft.{kind}.{module}")


def _change_since(error: BaseException, kind: type) -> str | None:
    """What has changed since a file of the user's was written, if that is why it fails, and what to write instead."""
    if isinstance(error, ModuleNotFoundError) and str(error.name).startswith("nfft."):
        return f"there is no {error.name} any more. Use `from nfft import {kind.__name__}`."
    if isinstance(error, TypeError) and "keyword argument 'licence'" in str(error):
        return "its field licence is called license now. Rename it."
    return None


def _declared(path: Path, what: str, kind: type[T], example: str) -> T:
    """The TASK or STUDY of a file of the user's."""
    spec = importlib.util.spec_from_file_location(f"nfft_{what}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        raise UserError(
            f"the {what} file {path} ends the program (exit status {error.code}) where it should only define "
            f"{what.upper()}. Take that out."
        ) from error
    except Exception as error:
        if (change := _change_since(error, kind)) is not None:
            raise UserError(f"the {what} file {path} was written for an older release: {change}") from error
        raise UserError(f"the {what} file {path} does not run: {type(error).__name__}: {error}") from error
    declared = getattr(module, what.upper(), None)
    if not isinstance(declared, kind):
        line = f"{what.upper()} = {kind.__name__}(...)"
        raise UserError(f"the {what} file {path} must define {line}; it does not. See {example}.")
    return declared
