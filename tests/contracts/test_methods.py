"""Every method: what it trains, that it learns, resumes and comes back from what it saved."""

import itertools
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import timm
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import nfft
from nfft.cli import finetune
from nfft.config import registry
from nfft.errors import UserError
from nfft.models.build import build_network
from nfft.models.freezing import depth_groups
from nfft.models.resolve import find_checkpoint
from nfft.optim.param_groups import classifier

pytestmark = pytest.mark.usefixtures("blank_pictures")

METHODS = [name.replace("_", "-") for name in registry.names("methods")]
# One of each that has a trainer or a saver of its own.
KINDS = ("full", "lora", "probe")
CLASSES = list("abcdefghij")


@pytest.fixture(autouse=True)
def no_accelerator_is_left() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)


def prepared(name: str, architecture: str = "nfnet-nano", **settings: object) -> torch.nn.Module:
    network = build_network(find_checkpoint(architecture, {}), CLASSES, dropout=0, stochastic_depth=0)
    replace(registry.method(name), **settings).prepare(network)
    return network


def trained(network: torch.nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", METHODS)
def test_the_classifier_is_always_trained(name: str) -> None:
    network = prepared(name)
    assert all(parameter.requires_grad for parameter in classifier(network).parameters())


def test_what_each_trains() -> None:
    every = {name for name, _ in prepared("full").named_parameters()}
    assert trained(prepared("full")) == trained(prepared("layer-decay")) == every
    small = trained(prepared("head-and-gains"))
    assert {name for name in small if name.endswith(".weight")} == {"head.fc.weight"}
    assert {name for name in every if "gain" in name or name.endswith("bias")} < small
    stages = {"stages.3", "final_conv", "head.fc"}
    assert {".".join(name.split(".")[:2]) if "final" not in name else "final_conv"
            for name in trained(prepared("last-stages"))} == stages  # fmt: skip
    assert {name.split(".")[0] for name in trained(prepared("last-stages", stages=0))} == {"head"}
    assert trained(prepared("last-stages", stages=4)) == {name for name in every if not name.startswith("stem")}
    assert trained(prepared("freeze-stem")) == trained(prepared("last-stages", stages=4))
    assert {name.split(".")[0] for name in trained(prepared("first-stages", stages=0))} == {"stem", "head"}
    for name, wrong in itertools.product(("last-stages", "first-stages", "freeze-stem"), (-1, 5)):
        with pytest.raises(UserError, match=r"method\.stages must be from 0 to 4"):
            prepared(name, stages=wrong)


@pytest.mark.parametrize(
    "architecture",
    ["test_nfnet", "dm_nfnet_f0", "nfnet_f0", "eca_nfnet_l0", "nf_regnet_b0", "nf_resnet26", "bn_resnet26"],
)
def test_first_and_last_stages_are_the_whole_of_every_family(architecture: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(architecture, num_classes=3)

    def parts(name: str, stages: int) -> set[str]:
        replace(registry.method(name), stages=stages).prepare(network)
        return trained(network)

    every = {name for name, _ in network.named_parameters()}
    head = {name for name, parameter in network.named_parameters() if any(
        parameter is each for each in classifier(network).parameters())}  # fmt: skip
    sizes = []
    for stages in range(5):
        early, late = parts("first-stages", stages), parts("freeze-stem", stages)
        assert early | late == every
        assert early & late == head
        assert late == parts("last-stages", 4 - stages)
        sizes.append(len(early))
    assert sizes == sorted(set(sizes))


def test_layer_decay_slows_what_is_far_from_the_classifier() -> None:
    network = prepared("full", "scratch:nf_resnet26")
    scales = registry.method("layer-decay").scales(network)
    by_depth = [{scales[each] for each in tensors} for _, tensors in depth_groups(network, coarse=False).values()]
    assert all(len(each) == 1 for each in by_depth)
    values = [each.pop() for each in by_depth]
    assert values == pytest.approx([0.75**steps for steps in range(len(values) - 1, -1, -1)])
    assert scales[classifier(network).weight] == 1


@pytest.mark.parametrize(
    "name", [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
def test_learns_and_comes_back_as_it_was_scored(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    digits = ["--task", "digits", "--set", "task.validation_fraction=0.05", "--set", "task.test_fraction=0.1"]
    asked = [*digits, "--method", name, "--precision", "fp32", "--set", "test_resolution=32"]
    if registry.method(name).heeds("total_steps"):
        asked += ["--steps", "30", "--batch-size", "32", "--set", "train_resolution=32", "--set", "evaluations=1"]
    assert finetune.main([*asked, "--output-dir", str(folder)]) == 0
    results = json.loads((folder / "results.json").read_text())
    assert results["test"]["top1"] > 0.4
    run = json.loads((folder / "run.json").read_text())
    assert run["method"]["name"] == name and 0 < run["model"]["trained"] <= run["model"]["parameters"]
    before, after = find_checkpoint("nfnet-nano", {}), nfft.AutoNFNet.from_pretrained(folder)
    assert after.labels == [str(digit) for digit in range(10)]
    start, end = load_file(before.folder / "model.safetensors"), after.network.state_dict()
    moved = {key for key in start if not key.startswith("head") and not torch.equal(start[key], end[key])}
    assert bool(moved) == (run["model"]["trained"] > 2890), name

    AcceleratorState._reset_state(reset_partial_state=True)
    from nfft.cli import evaluate

    scored = tmp_path / "scored.json"
    assert evaluate.main([*digits, "--model", str(folder), "--precision", "fp32", "--output", str(scored)]) == 0
    assert json.loads(scored.read_text())["scores"]["confusion"] == results["test"]["confusion"]


@pytest.mark.slow
def test_an_adapter_resumes_to_the_bit_and_is_merged(tmp_path: Path) -> None:
    from nfft.cli import merge
    from nfft.training.checkpointing import latest_checkpoint

    asked = ["--task", "digits", "--method", "lora", "--set", "method.rank=2", "--steps", "8", "--batch-size", "16"]
    asked += ["--set", "evaluations=2", "--set", "train_resolution=32", "--set", "test_resolution=32"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert finetune.main([*asked, "--output-dir", str(whole)]) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    assert finetune.main([*asked, "--output-dir", str(stopped)]) == 0
    for each in (stopped / "checkpoints").glob("step-00000008"):
        (each / "state.json").unlink()
    AcceleratorState._reset_state(reset_partial_state=True)
    assert finetune.main([*asked, "--output-dir", str(stopped), "--resume"]) == 0
    assert latest_checkpoint(stopped / "checkpoints")[0] is not None
    one, two = (load_file(each / "adapter_model.safetensors") for each in (whole, stopped))
    assert all(torch.equal(one[name], two[name]) for name in one)

    targets = json.loads((whole / "adapter_config.json").read_text())["target_modules"]
    assert len(targets) > 5 and targets == sorted(targets)

    # One that was killed is only repeated.
    (tmp_path / ".merged.merging").mkdir()
    (tmp_path / ".merged.merging" / "model.safetensors").touch()
    assert merge.main([str(whole), str(tmp_path / "merged")]) == 0
    assert not [path.name for path in tmp_path.iterdir() if "merging" in path.name]
    images = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        merged, loaded = (nfft.AutoNFNet.from_pretrained(each) for each in (tmp_path / "merged", whole))
        assert torch.equal(merged(images), loaded(images))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert finetune.main([*asked, "--model", str(whole), "--output-dir", str(tmp_path / "twice")]) == 2
    assert merge.main([str(tmp_path / "merged"), str(tmp_path / "again")]) == 2
    assert merge.main([str(whole), str(tmp_path / "merged")]) == 2


@pytest.mark.parametrize("name", ["loha", "lokr", "ia3", "oft", "boft", "adalora", "vera", "hra", "LoHa"])
def test_methods_of_pefts_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UserError, match=rf"--method {name} .* lose 80 to 100 % .* Use --method lora\.$"):
        registry.method(name)


def test_dora_is_a_setting_of_lora() -> None:
    with pytest.raises(UserError, match=r"lose 80 to 100 % .* Use --method lora --set method\.dora=true\.$"):
        registry.method("dora")
    assert "dora" in {field.name for field in fields(registry.method("lora"))}
    assert not set(METHODS) & set(registry.INSTEAD)


def test_methods_that_are_misspelt() -> None:
    with pytest.raises(UserError, match="unknown method 'lorra'; did you mean 'lora'"):
        registry.method("lorra")
