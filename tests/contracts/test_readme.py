"""What README.md and docs/ say can be typed, can be typed; snippets run; what they link exists."""

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from nfft.cli import COMMANDS as COMMANDS_OF_CLI
from nfft.cli import finetune
from nfft.cli.arguments import run_config_of
from nfft.config import registry
from nfft.config.overrides import by_owner, read_changes, read_config
from nfft.config.recipe import Recipe
from nfft.config.task import Task

pytestmark = pytest.mark.usefixtures("blank_pictures")

REPOSITORY = Path(__file__).parents[2]
PAGES = {path: path.read_text() for path in (REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/*.md")))}
README = PAGES[REPOSITORY / "README.md"]
PARSERS = {name: import_module(f"nfft.cli.{name}").parser for name in COMMANDS_OF_CLI}
COMMAND = rf"nfft (?P<name>{'|'.join(PARSERS)})(?= )|nfft/finetune\.py"
FENCED = r"^```{}\b[^\n]*\n(.*?)^```"


def lines_to_type(text: str) -> list[str]:
    """Lines of a page's shell blocks without comments; one that goes on in a second line is one."""
    blocks = re.findall(FENCED.format("sh"), text, re.MULTILINE | re.DOTALL)
    consoles = re.findall(FENCED.format("console"), text, re.MULTILINE | re.DOTALL)
    typed = [line.removeprefix("$ ") for block in consoles for line in block.splitlines() if line.startswith("$ ")]
    shell = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in (*shell, *typed)]


TYPED = list(dict.fromkeys(line for text in PAGES.values() for line in lines_to_type(text)))
COMMANDS = [line for line in TYPED if re.search(COMMAND, line)]
REPRODUCE = [line for line in lines_to_type(PAGES[REPOSITORY / "docs/reproduce.md"]) if "nfft/finetune.py" in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    match = re.search(COMMAND, command)
    assert match is not None
    name = match["name"] or "finetune"
    options = PARSERS[name]().parse_args(shlex.split(re.sub(r"\$\w+", "1", command[match.end() :])))
    if name in ("finetune", "look"):
        config = run_config_of(options)
        registry.recipe(config.recipe)
        of = by_owner(config.settings, ["task", "method"])
        read_changes(Task, of["task"], whose="task")
        read_changes(type(registry.method(config.method)), of["method"], whose="method")
        read_changes(Recipe, of[""], whose="recipe")


@pytest.mark.parametrize("command", REPRODUCE)
def test_commands_of_the_papers_experiments_parse(command: str) -> None:
    words = shlex.split(re.sub(r"\$\w+", "64", command))
    asked = read_config(run_config_of(finetune.parser().parse_args(words[words.index("nfft/finetune.py") + 1 :])))
    assert asked.recipe.__module__ == f"nfft.recipes.{words[words.index('--recipe') + 1].replace('-', '_')}"


def test_every_command_is_shown() -> None:
    assert {re.search(COMMAND, command)["name"] or "finetune" for command in COMMANDS} == set(PARSERS)


@pytest.mark.parametrize("line", [line for line in TYPED if line.startswith("python ")])
def test_scripts_are_there(line: str) -> None:
    assert (REPOSITORY / line.split()[1]).is_file()


def test_the_test_command_stands_in_the_readme() -> None:
    assert "pip install -e '.[test]' && pytest" in TYPED


def test_the_readme_is_short_and_names_every_room() -> None:
    assert len(README.splitlines()) <= 150
    tree = README[README.index("## The files") :]
    for folder in sorted((REPOSITORY / "nfft").iterdir()):
        if folder.is_dir() and not folder.name.startswith("__"):
            assert re.search(rf"^  {folder.name}/ +\w", tree, re.MULTILINE), folder.name


LINKS = [
    (page.relative_to(REPOSITORY).as_posix(), *link)
    for page, text in PAGES.items()
    for link in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(#[^)\s]*)?\)", text)
]


@pytest.mark.parametrize(("page", "target", "anchor"), LINKS)
def test_links_lead_somewhere(page: str, target: str, anchor: str) -> None:
    path = (REPOSITORY / page).parent / target if target else REPOSITORY / page
    assert path.exists()
    # In pages of the site, mkdocs sees to it.
    if anchor and page == "README.md":
        headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
        assert anchor[1:] in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def snippets(text: str, containing: str) -> list[str]:
    """Python blocks of a page that contain a text."""
    return [block for block in re.findall(FENCED.format("python"), text, re.M | re.S) if containing in block]


def snippet(page: str, containing: str) -> str:
    return snippets(PAGES[REPOSITORY / page], containing)[0]


@pytest.fixture
def run_of_digits(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with runs/digits-nfnet-nano/, a random network of 7 classes, and photo.png."""
    import numpy as np
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    folder = Path("runs/digits-nfnet-nano")
    folder.parent.mkdir()
    checkpoint.rename(folder)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 61, 4), np.uint8)).save("photo.png")
    return folder


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_three_libraries_load_a_run(page: str, run_of_digits: Path) -> None:
    for block in snippets(PAGES[REPOSITORY / page], "runs/digits-nfnet-nano"):
        names: dict = {}
        exec(block, names)
        if "classify" in names:
            assert len(names["classify"]("photo.png")) == 5


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md", "docs/data.md"])
def test_a_run_from_python(page: str, run_of_digits: Path) -> None:
    # In place of minutes, a step; and not in the folder of the network that is there.
    few = "epochs=0.05" if "output_dir" in snippet(page, "nfft.fine_tune(") else "epochs=0.05, output_dir='runs/short'"
    exec(snippet(page, "nfft.fine_tune(").replace("epochs=5", few), {})
    assert Path("runs/short/model.safetensors").is_file()


def test_the_pieces_work_in_other_loops(tmp_path: Path) -> None:
    import timm
    import torch
    from transformers import Trainer, TrainingArguments

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = timm.create_model("test_nfnet", num_classes=3)

        def get_classifier(self) -> torch.nn.Module:
            return self.network.get_classifier()

        def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> object:
            logits = self.network(pixel_values)
            return logits if labels is None else {"loss": loss_of(logits, labels), "logits": logits}

    loss_of = torch.nn.functional.cross_entropy
    rows = [{"pixel_values": torch.randn(3, 32, 32), "labels": index % 3} for index in range(20)]
    images, labels = torch.stack([row["pixel_values"] for row in rows]), torch.arange(20) % 3
    names = {"torch": torch, "model": Classifier(), "batches": [(images, labels)] * 2, "loss_of": loss_of}
    exec(snippet("docs/pieces.md", "clip_before_each_step("), names)
    assert names["average"].step == 2

    optimizer = names["optimizer"]
    names |= {"Trainer": Trainer, "dataset": rows, "schedule": torch.optim.lr_scheduler.ConstantLR(optimizer)}
    names["arguments"] = TrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=10, max_grad_norm=0, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    exec(snippet("docs/pieces.md", "class SamTrainer"), names)
    names["trainer"].train()
    assert names["average"].step == 4


def test_a_checkpoint_of_timms_script_becomes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm
    import torch

    from nfft import AutoNFNet

    monkeypatch.chdir(tmp_path)
    trained = timm.create_model("test_nfnet", num_classes=7).eval()
    saved = {"arch": "test_nfnet", "state_dict": trained.state_dict(), "args": argparse.Namespace(model="test_nfnet")}
    torch.save(saved, "model_best.pth.tar")
    exec(snippet("docs/coming-from.md", "save_for_hf(").replace("nf_resnet50", "test_nfnet"), {})
    images = torch.randn(2, 3, 32, 32)
    assert AutoNFNet.from_pretrained("my-resnet50")(images).equal(trained(images))


def test_an_exported_file_takes_no_nfft(run_of_digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np
    import torch
    from PIL import Image

    from nfft import AutoNFNet
    from nfft.cli import export
    from nfft.data.decode import decode

    assert export.main([str(run_of_digits)]) == 0
    capsys.readouterr()

    names: dict[str, object] = {}
    exec(snippet("docs/export.md", "onnxruntime.InferenceSession("), names)
    model = AutoNFNet.from_pretrained(run_of_digits)
    (best,) = model.predict("photo.png", top_k=1)
    assert capsys.readouterr().out == f"{best['label']}\n"
    wanted = model(model.transform(Image.open("photo.png").convert("RGB"))[None])
    torch.testing.assert_close(torch.from_numpy(names["logits"]), wanted.detach(), rtol=0, atol=1e-5)
    deep = np.random.default_rng(0).integers(0, 65536, (40, 64)).astype(np.uint16)
    turned = Image.fromarray((deep // 256).astype(np.uint8))
    turned.getexif()[0x0112] = 6
    floats = Image.fromarray((deep / 65535).astype(np.float32))
    for image in (Image.fromarray(deep), turned, floats):
        image.save("photo.png", "TIFF" if image is floats else "PNG", exif=image.getexif())
        exec(snippet("docs/export.md", "onnxruntime.InferenceSession("), names)
        wanted = model(model.transform(decode("photo.png"))[None])
        torch.testing.assert_close(torch.from_numpy(names["logits"]), wanted.detach(), rtol=0, atol=1e-5)
