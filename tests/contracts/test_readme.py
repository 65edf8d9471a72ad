"""What the README says can be typed, can be typed; what it lists and links exists."""

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

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
PARSERS = {name: import_module(f"nfft.cli.{name}").parser for name in COMMANDS_OF_CLI}
COMMAND = rf"nfft (?P<name>{'|'.join(PARSERS)})(?= )|nfft/finetune\.py"
COMMANDS = [
    line.split("  #")[0] for line in re.findall(r"^ {4}(.*)$", README, re.MULTILINE) if re.search(COMMAND, line)
]
# Of a command that goes on in a second line, one.
REPRODUCE = [
    line.strip()
    for line in (REPOSITORY / "docs/reproduce.md").read_text().replace("\\\n", " ").splitlines()
    if line.startswith("    ") and "nfft/finetune.py" in line
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    found = re.search(COMMAND, command)
    assert found is not None
    name = found["name"] or "finetune"
    given = PARSERS[name]().parse_args(shlex.split(command[found.end() :]))
    if name in ("finetune", "look"):
        request = run_config_of(given)
        registry.recipe(request.recipe)
        of = by_owner(request.settings, ["task", "method"])
        read_changes(Task, of["task"], whose="task")
        read_changes(Recipe, of[""], whose="recipe")


@pytest.mark.parametrize("command", REPRODUCE)
def test_commands_of_the_papers_experiments_parse(command: str) -> None:
    words = shlex.split(re.sub(r"\$\w+", "1", command))
    asked = read_config(run_config_of(finetune.parser().parse_args(words[words.index("nfft/finetune.py") + 1 :])))
    assert asked.recipe.__module__ == f"nfft.recipes.{words[words.index('--recipe') + 1].replace('-', '_')}"


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 5
    assert {re.search(COMMAND, command)["name"] or "finetune" for command in COMMANDS} >= PARSERS.keys() - {"card"}


def test_every_task_recipe_method_and_study_is_listed() -> None:
    named = registry.names("recipes") + registry.names("methods") + registry.names("studies")
    for name in registry.names("tasks") + [name.replace("_", "-") for name in named]:
        assert f"`{name}`" in README, name


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (REPOSITORY / link).exists()


def snippet(containing: str) -> str:
    return next(block for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if containing in block)


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
    exec(snippet("clip_before_each_step("), names)
    assert names["average"].step == 2

    optimizer = names["optimizer"]
    names |= {"Trainer": Trainer, "dataset": rows, "schedule": torch.optim.lr_scheduler.ConstantLR(optimizer)}
    names["arguments"] = TrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=10, max_grad_norm=0, use_cpu=True, report_to=[],
        save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    exec(snippet("class SamTrainer"), names)
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
    exec(snippet("save_for_hf(").replace("nf_resnet50", "test_nfnet"), {})
    images = torch.randn(2, 3, 32, 32)
    assert AutoNFNet.from_pretrained("my-resnet50")(images).equal(trained(images))


def test_an_exported_file_takes_no_nfft(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np
    import torch
    from PIL import Image

    from nfft import AutoNFNet
    from nfft.cli import export

    monkeypatch.chdir(tmp_path)
    folder = Path("runs/digits-nfnet-nano")
    folder.parent.mkdir()
    checkpoint.rename(folder)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 61, 4), np.uint8)).save("photo.png")
    assert export.main([str(folder)]) == 0
    capsys.readouterr()

    names: dict[str, object] = {}
    exec(snippet("onnxruntime.InferenceSession("), names)
    model = AutoNFNet.from_pretrained(folder)
    (best,) = model.predict("photo.png", top_k=1)
    assert capsys.readouterr().out == f"{best['label']}\n"
    wanted = model(model.transform(Image.open("photo.png").convert("RGB"))[None])
    torch.testing.assert_close(torch.from_numpy(names["logits"]), wanted.detach(), rtol=0, atol=1e-5)
