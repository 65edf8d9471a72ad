"""What each kind of input is handed to: a reader of nfft's, which reads it or raises UserError."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from fuzz import inputs
from nfft.config.task import Task
from nfft.data.splits import load_data
from nfft.errors import UserError
from nfft.hub.dataset_card import check_card
from nfft.models.adapter import read_adapter_config
from nfft.models.build import build_network
from nfft.models.checkpoint import labels_of, open_checkpoint
from nfft.models.validation import validate_weights
from nfft.reporting.card_merge import is_edited, own_metadata, own_sections, take_apart
from nfft.reporting.card_metadata import to_yaml
from nfft.reporting.publish import write_card
from nfft.runs.folder import read_metrics

CARDS = Path(__file__).parents[1] / "cards" / "digits-nfnet-nano"
CONFIG: dict[str, Any] = {
    "architecture": "test_nfnet", "num_classes": 2, "label_names": ["a", "b"],
    "pretrained_cfg": {
        "input_size": [3, 32, 32], "test_input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3,
        "crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": "center", "license": "mit",
    },
    "model_args": {"std_conv_eps": 1e-5, "act_layer": "relu", "depths": [1, 1, 1, 1], "width_factor": 1.0},
}  # fmt: skip
ADAPTER = {
    "peft_type": "LORA", "r": 4, "lora_alpha": 4, "use_dora": False, "use_rslora": False,
    "target_modules": ["stem.conv1", "head.fc"], "rank_pattern": {"^stem\\.conv1$": 2}, "alpha_pattern": {},
}  # fmt: skip
STEP = {"kind": "train", "step": 1, "loss": 1.0, "top1": 0.5, "lr": 0.1, "clipped": 0.0, "images_per_second": 9.0}


@cache
def folder() -> Path:
    """Where inputs are put: one place, so that its files are replaced."""
    place = Path(tempfile.mkdtemp(prefix="nfft-fuzz-"))
    torch.manual_seed(0)
    save_file(timm.create_model("test_nfnet", num_classes=2).state_dict(), place / "model.safetensors")
    for name in ("0.png", "1.png"):
        Image.radial_gradient("L").resize((32, 32)).save(place / name)
    return place


def _text(name: str, content: str) -> Path:
    file = folder() / name
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    return file


def config(text: str) -> None:
    _text("config.json", text)
    checkpoint = open_checkpoint("strange", folder())
    build_network(checkpoint, labels_of(checkpoint), dropout=0, stochastic_depth=0)


@cache
def _network() -> torch.nn.Module:
    with torch.device("meta"):
        return timm.create_model("test_nfnet", num_classes=2)


def weights(content: bytes) -> None:
    file = folder() / "strange.safetensors"
    file.write_bytes(content)
    validate_weights("strange", file, _network())


def adapter(text: str) -> None:
    read_adapter_config("strange", _text("adapter_config.json", text))


def card(text: str) -> None:
    is_edited(text)
    parts = take_apart(text)
    own_sections(parts, ["S"])
    to_yaml(own_metadata(parts, {"tags": ["timm"]}))


def dataset_card(text: str) -> None:
    _text("README.md", text)
    check_card(str(folder()))


def _run(name: str) -> Callable[[str], None]:
    def write(text: str) -> None:
        run = folder() / "run"
        run.mkdir(exist_ok=True)
        for other in ("run.json", "results.json"):
            (run / other).write_bytes((CARDS / other).read_bytes())
        (run / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        (run / "README.md").unlink(missing_ok=True)
        write_card(run)

    return write


def metrics(text: str) -> None:
    _text("metrics.jsonl", text)
    read_metrics(folder())


def table(content: bytes) -> None:
    file = folder() / "table.csv"
    file.write_bytes(content)
    load_data(Task(name="table", source=str(file)))


@dataclass(frozen=True)
class Target:
    """A reader, and what it is fed.

    Attributes:
        share: of all cases.
        kept: inputs that were once too much for it.
    """

    read: Callable[[Any], None]
    inputs: inputs.Strategy
    share: float
    kept: list[Any] = field(default_factory=list)

    def survive(self, content: Any) -> None:
        """Read it, or refuse it in a sentence."""
        try:
            self.read(content)
        except UserError as error:
            assert len(str(error)) < 2000, "a message has bounds"


TARGETS = {
    "config": Target(config, inputs.documents(CONFIG), 0.2),
    "weights": Target(
        weights,
        inputs.tensor_files({"head.fc.bias": ("F32", [2]), "head.fc.weight": ("F32", [2, 3])}),
        0.2,
    ),
    "adapter": Target(adapter, inputs.documents(ADAPTER), 0.1),
    "card": Target(card, inputs.cards, 0.2),
    "dataset card": Target(dataset_card, inputs.cards, 0.09),
    "run": Target(_run("run.json"), inputs.documents(json.loads((CARDS / "run.json").read_text())), 0.05),
    "results": Target(_run("results.json"), inputs.documents(json.loads((CARDS / "results.json").read_text())), 0.05),
    "metrics": Target(metrics, inputs.documents(STEP), 0.1),
    "table": Target(table, inputs.tables, 0.01),
}
