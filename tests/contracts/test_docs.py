"""The documentation has what the code has, its examples work, and its site is built without a network."""

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from pictures import noise

import nfft
from nfft.cli import sentences
from nfft.config import registry
from nfft.config.recipe import Facts
from nfft.runs import records

pytestmark = pytest.mark.usefixtures("blank_pictures")

REPOSITORY = Path(__file__).parents[2]
PAGES = {path.name: path.read_text() for path in sorted(REPOSITORY.glob("docs/*.md"))}
FACTS = Facts(
    images=500, classes=3, side=64, architecture="test_nfnet", train_side=48, test_side=48, pretrained=True
)  # fmt: skip


def module_of(path: Path) -> ModuleType:
    """A file as a module, by its path, with its neighbors for it to import."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


FROM_CODE = module_of(REPOSITORY / "docs" / "from_code.py")
FROM_SOURCE = module_of(REPOSITORY / "docs" / "from_source.py")
FILLED = {name: FROM_CODE.filled(text) for name, text in PAGES.items()}


def test_every_place_is_filled_and_every_maker_is_used() -> None:
    assert not [name for name, text in FILLED.items() if FROM_CODE.PLACE.search(text)]
    used = {place[1] for text in PAGES.values() for place in FROM_CODE.PLACE.finditer(text)}
    assert used == set(FROM_CODE.MAKERS)


def test_every_page_is_in_the_navigation() -> None:
    config = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    pages = re.findall(r"[\w/-]+\.md", json.dumps(config["nav"]))
    assert set(PAGES) <= set(pages)
    elsewhere = set(pages) - set(PAGES)
    assert [page for page in elsewhere if not (REPOSITORY / page).is_file()] == []


def test_every_task_recipe_method_and_study_is_listed() -> None:
    named = registry.names("recipes") + registry.names("methods") + registry.names("studies")
    for name in registry.names("tasks") + [name.replace("_", "-") for name in named]:
        assert any(f"`{name}`" in text for text in FILLED.values()), name


def test_every_setting_is_described() -> None:
    for field in dataclasses.fields(nfft.Recipe):
        assert f"| `{field.name}` | " in FILLED["settings.md"], field.name
    for field in dataclasses.fields(nfft.Task):
        assert f"| `{field.name}` | " in FILLED["data.md"], field.name
    lr = next(line for line in FILLED["settings.md"].splitlines() if line.startswith("| `sam_share` | number"))
    assert "`0.2` | above 0 and at most 1" in lr


def test_every_record_of_a_run_folder_is_described() -> None:
    kinds = [kind for kind in vars(records).values() if isinstance(kind, type) and issubclass(kind, records.Record)]
    for kind in set(kinds) - {records.Record}:
        assert f"#### {kind.__name__}\n" in FILLED["run-folder.md"], kind
        for field in dataclasses.fields(kind):
            assert f"| `{field.name}` | " in FILLED["run-folder.md"].split(f"#### {kind.__name__}\n")[1]
    run = FILLED["run-folder.md"].split("#### RunRecord\n")[1].split("####")[0]
    assert re.findall(r"`(\w+)` \| [^|]* \| ●", run) == ["seed", "precision", "processes"]
    # Nothing of what came out has to be the same.
    assert "●" not in FILLED["run-folder.md"].split("## results.json\n")[1].split("\n## checkpoints")[0]


def test_every_public_name_is_in_the_reference() -> None:
    assert set(re.findall(r"^::: nfft\.(\w+)$", FILLED["api.md"], re.MULTILINE)) == set(nfft.__all__) - {"__version__"}


def test_every_command_is_described_with_its_arguments() -> None:
    for text in (
        "## nfft finetune\n",
        "## nfft export\n",
        "| `--push-to USER/NAME` |",
        "scratch:&lt;timm architecture>",
    ):
        assert text in FILLED["command-line.md"]


def beginnings(sentences: str) -> list[str]:
    """What may be quoted of an error: its first sentence, its first two, and so on, as patterns; … is anything."""
    ends = [match.end() for match in re.finditer(r"[.?](?= |$)", sentences)] or [len(sentences)]
    return [".*".join(re.escape(part) for part in sentences[:end].split("…")) for end in [*ends, len(sentences)]]


def test_sentences_that_are_explained_are_said() -> None:
    said = [text for path in (REPOSITORY / "nfft").rglob("*.py") for text in FROM_SOURCE.sentences_of(path)]
    said += [text for name, text in vars(sentences).items() if name.isupper() and isinstance(text, str)]
    patterns = [pattern for text in said for pattern in beginnings(text)]
    quoted = re.findall(r"^\| (?!it says|---)(.*?) \| ", PAGES["troubleshooting.md"], re.MULTILINE)
    assert len(quoted) > 40
    assert [text for text in quoted if not any(re.fullmatch(pattern, text) for pattern in patterns)] == []


@pytest.mark.slow
def test_the_site_is_built_with_nothing_from_elsewhere(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package)
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|iframe)[^>]* src=\"?([^\s\">]+)|<link[^>]* href=\"?([^\s\">]+)", page.read_text()
        )
        assert not [address for pair in loaded for address in pair if re.match(r"(https?:)?//", address)], page
    text = (tmp_path / "run-folder" / "index.html").read_text()
    assert "SHA-256 of the checkpoint" in text
    assert "LOG/" in (tmp_path / "index.html").read_text(), "pages that lie elsewhere in the repository are taken in"


# The examples of docs/extending.md


def example(title: str) -> str:
    return re.search(rf'^```python title="{title}"\n(.*?)^```', PAGES["extending.md"], re.MULTILINE | re.DOTALL)[1]


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose recipes/, methods/ and formats/ are found like nfft's own."""
    import nfft.export.formats
    import nfft.methods
    import nfft.recipes

    for package in (nfft.methods, nfft.recipes, nfft.export.formats):
        folder = tmp_path / package.__name__.split(".")[-1]
        folder.mkdir()
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    return tmp_path


def test_a_task_of_ones_own(tmp_path: Path) -> None:
    from nfft.data.splits import load_data

    animals = ["cat", "dog", "hamster"] * 10
    for row in range(len(animals)):
        noise(seed=row).save(tmp_path / f"{row}.png")
    rows = [f"{row}.png,{animal}" for row, animal in enumerate(animals)]
    (tmp_path / "pets.csv").write_text("\n".join(["file,animal", *rows]) + "\n")
    file = tmp_path / "pets.py"
    file.write_text(example("pets.py").replace("path/to/pets.csv", str(tmp_path / "pets.csv")))
    data = load_data(registry.task(str(file)))
    assert data.classes == ["cat", "dog", "hamster"]
    assert [len(split) for split in (data.train, data.validation, data.test)] == [21, 3, 6]


def test_a_recipe_of_ones_own(added: Path) -> None:
    (added / "recipes" / "glance.py").write_text(example("nfft/recipes/glance.py"))
    whole, short = registry.recipe("auto")(FACTS), registry.recipe("glance")(FACTS)
    assert short.epochs == pytest.approx(whole.epochs / 10, abs=0.1)
    assert dataclasses.replace(short, epochs=whole.epochs, evaluations=whole.evaluations) == whole


def test_a_method_of_ones_own(added: Path) -> None:
    import timm

    from nfft.config.overrides import with_settings

    (added / "methods" / "first_and_last.py").write_text(example("nfft/methods/first_and_last.py"))
    network = timm.create_model("test_nfnet", num_classes=3)
    with_settings(registry.method("first-and-last"), {"first": "2"}, "method").prepare(network)
    trained = {name.split(".")[0] for name, tensor in network.named_parameters() if tensor.requires_grad}
    assert trained == {"stem", "stages", "head"}
    assert not network.stages[3][0].conv1.weight.requires_grad
    with pytest.raises(nfft.UserError, match="at least 1"):
        with_settings(registry.method("first-and-last"), {"first": "0"}, "method")


def test_a_study_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "smoothing.py"
    file.write_text(example("smoothing.py"))
    study = registry.study(str(file))
    assert (list(study.rows), list(study.columns)) == (["hard", "smooth"], ["100 steps", "400 steps"])


def test_an_export_format_of_ones_own(added: Path) -> None:
    from nfft import AutoNFNet
    from nfft.cli import export
    from nfft.export.formats import find_format
    from nfft.export.verify import write_export

    (added / "formats" / "torchscript.py").write_text(example("nfft/export/formats/torchscript.py"))
    assert export.parser().parse_args(["nfnet-nano", "--format", "torchscript"]).format == "torchscript"
    kind, file = find_format("torchscript"), added / "model.pt"
    # Raises where logits differ.
    write_export(AutoNFNet.from_pretrained("nfnet-nano"), kind, 32, file)
    assert kind.is_ours(file)


def test_an_objective_of_ones_own() -> None:
    import torch

    from nfft.training import objective

    names = dict(vars(objective))
    exec(example("nfft/training/objective.py"), names)
    logits, targets = torch.randn(4, 3, requires_grad=True), torch.eye(3)[[0, 1, 2, 0]]
    plain = objective.CrossEntropy(3).loss(logits, targets)
    assert names["Poly1"](3, epsilon=0.0).loss(logits, targets) == plain
    assert names["Poly1"](3).loss(logits, targets) > plain


def test_a_tracker_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example("follow.py").replace('"epochs": 5', '"total_steps": 2, "evaluations": 1'), names)
    assert len(names["follower"].losses) == 2 and len(names["follower"].validated) == 2
    assert capsys.readouterr().out.startswith("2 steps in runs/digits-nfnet-nano\ntest top-1 ")


# The files of examples/


def test_the_example_of_a_task_is_one() -> None:
    from nfft.data.splits import load_data

    data = load_data(registry.task(str(REPOSITORY / "examples" / "own_task.py")))
    assert data.classes == ["circle", "square", "triangle"]
    assert [len(split) for split in (data.train, data.validation, data.test)] == [168, 24, 48]


def test_the_example_of_a_loop_learns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    loop = module_of(REPOSITORY / "examples" / "own_loop.py")
    monkeypatch.setattr(loop, "BATCH", 20)
    assert loop.main(steps=20) > 0.3
    assert "step 20/20 · loss" in capsys.readouterr().out


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    notebook = json.loads((REPOSITORY / "examples" / "quickstart.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert any("epochs=3" in cell for cell in cells)
    names: dict = {}
    for cell in cells:
        exec(cell.replace("epochs=3", "epochs=0.1"), names)
    plt.close("all")
    assert len(names["answers"]) == 8
    assert (names["run"].folder / "README.md").is_file()
