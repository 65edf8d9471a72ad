"""A GPU computes what the CPU does, to rounding, and trains in half precision: `pytest -m gpu`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from loop import steps_of
from reference_run import RECIPE, batches, by_reference, network
from torch import Tensor
from update_run import CASES, take_steps

import nfft
from nfft.cli import evaluate
from nfft.distributed.accelerator import make_accelerator
from nfft.optim.step import SequentialUpdate
from nfft.training.step import prepare_training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU, or hidden: pytest -m gpu"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> nfft.Run:
    """A run on the GPU in float32."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return nfft.fine_tune("digits", output_dir=folder, precision="fp32", total_steps=40, evaluations=1)


def test_steps_are_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    # Convolutions take TF32 on their own, which keeps ten bits of each factor.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    accelerator, model = make_accelerator("fp32"), network()
    training = prepare_training(model, RECIPE, accelerator)

    def to_input(images: Tensor) -> Tensor:
        return images.to(accelerator.device, torch.float32)

    assert RECIPE.total_steps is not None
    mine = batches(RECIPE, double=False)
    reports = steps_of(training, mine, RECIPE, accelerator, total_steps=RECIPE.total_steps, seed=3, to_input=to_input)
    wanted = by_reference(RECIPE)
    assert [report.loss for report in reports] == pytest.approx(wanted.losses, abs=1e-4)
    for name, tensor in model.state_dict().items():
        assert tensor.device.type == "cuda"
        largest = abs(wanted.weights[name]).max()
        assert abs(tensor.double().cpu().numpy() - wanted.weights[name]).max() < 1e-4 * largest, name


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_pass_equals_the_pieces_in_turn(case: object) -> None:
    from nfft.optim.step_triton import InOnePass

    one, wanted = take_steps(case, InOnePass, "cuda"), take_steps(case, SequentialUpdate, "cuda")
    assert one.keys() == wanted.keys()
    for name, array in wanted.items():
        torch.testing.assert_close(
            torch.from_numpy(one[name]), torch.from_numpy(array), rtol=1e-5, atol=1e-6, equal_nan=True, msg=name
        )


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns(precision: str, tmp_path: Path) -> None:
    settings = {"total_steps": 40, "evaluations": 2, "sam_rho": 0.05}
    finished = nfft.fine_tune("digits", output_dir=tmp_path / "run", precision=precision, **settings)
    assert finished.record.precision == precision and finished.record.hardware.device == "cuda"
    assert finished.results.quoted.top1 > 0.5


@pytest.fixture
def scores(finished: nfft.Run, tmp_path: Path) -> Callable[[], dict]:
    """Scores the run's test split anew, on the device that accelerate chooses."""

    def score() -> dict:
        AcceleratorState._reset_state(reset_partial_state=True)
        output = tmp_path / "scores.json"
        asked = ["--model", str(finished.folder), "--task", "digits", "--precision", "fp32", "--output", str(output)]
        assert evaluate.main(asked) == 0
        return json.loads(output.read_text())["scores"]

    return score


def test_scores_are_those_of_the_cpu(scores: Callable[[], dict], monkeypatch: pytest.MonkeyPatch) -> None:
    here = scores()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    there = scores()
    assert here["loss"] == pytest.approx(there["loss"], abs=2e-3)
    assert here["top1"] == pytest.approx(there["top1"], abs=1 / there["count"])


def test_predictions_are_those_of_the_cpu(finished: nfft.Run) -> None:
    pictures = torch.randint(0, 256, (4, 40, 50, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    there = nfft.AutoNFNet.from_pretrained(finished.folder)
    here = nfft.AutoNFNet.from_pretrained(finished.folder).to("cuda")
    for one, other in zip(*(model.predict(pictures.numpy(), top_k=10) for model in (here, there)), strict=True):
        assert {line["label"]: line["score"] for line in one} == pytest.approx(
            {line["label"]: line["score"] for line in other}, abs=2e-3
        )
