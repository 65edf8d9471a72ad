"""One pass over memory takes the step that the pieces take in turn, and both the paper's."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import update_run
from reference import clip, ema_decay, nesterov
from torch import nn
from update_run import (
    CASES,
    DECAY,
    EMA_DECAY,
    FLOORED,
    LR,
    SCALE,
    SCALED,
    STEPS,
    Case,
    floors,
    gradients,
    network,
    take_steps,
)

from nfft.optim.step import SequentialUpdate, rehearse

PROGRAM = Path(update_run.__file__)
UNCLIPPED = "head.weight"
# By the case and what it is of.
Outcomes = dict[str, dict[str, np.ndarray]]


def reference_steps(case: Case) -> dict[str, np.ndarray]:
    """The steps of a case in float64, by the reference's formulas."""
    shapes = network(case.last)
    weights = {
        name: parameter.detach().double().numpy()
        for name, parameter in shapes.named_parameters()
        if parameter.requires_grad
    }
    average, momentum = dict(weights), {}
    decayed = {
        f"{name}.weight"
        for name, module in shapes.named_modules()
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))
    }
    shares = []
    for step in range(STEPS):
        over, draws = [], gradients(shapes, step, case)
        finite = all(bool(gradient.isfinite().all()) for gradient in draws.values())
        for name, gradient in draws.items():
            g, w = gradient.double().numpy(), weights[name]
            if case.clipping is not None and name != UNCLIPPED:
                least = floors(shapes)[shapes.get_parameter(name)].numpy() if case.floors and name == FLOORED else 1e-3
                with np.errstate(invalid="ignore"):
                    g, clipped = clip(w, g, case.clipping, least)
                over.append(np.where(np.isfinite(g).all(), clipped, np.nan).ravel())
            g = g + DECAY * w * (name in decayed)
            lr = LR * (SCALE if name == SCALED else 1)
            weights[name], momentum[name] = nesterov(w, g, momentum.get(name, 0.0), lr, case.momentum)
        for name, w in weights.items():
            average[name] = ema_decay(step, EMA_DECAY) * average[name] + (1 - ema_decay(step, EMA_DECAY)) * w
        shares.append(np.concatenate(over).mean() if over else 0.0 if finite else np.nan)
    outcome = {f"weights {name}": array for name, array in weights.items()} | {"shares": np.array(shares)}
    if case.momentum:
        outcome |= {f"momentum {name}": array for name, array in momentum.items()}
    if case.ema:
        outcome |= {f"average {name}": array for name, array in average.items()}
    return outcome


@pytest.fixture(scope="module")
def in_one_pass(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What the kernel does in each case, on a CPU: Triton's interpreter must be on before Triton is imported."""
    pytest.importorskip("triton")
    folder = tmp_path_factory.mktemp("update")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, PROGRAM, folder], env=environment, check=True)
    return {name: dict(np.load(folder / f"{number}.npz")) for number, name in enumerate(CASES)}


# All cases in one test: the interpreter is slow, and two workers would both run it.
@pytest.mark.slow
def test_one_pass_equals_the_pieces_in_turn_and_both_are_the_papers_step(in_one_pass: Outcomes) -> None:
    for name, case in CASES.items():
        at_once, in_turn, expected = in_one_pass[name], take_steps(case, SequentialUpdate), reference_steps(case)
        assert at_once.keys() == in_turn.keys()
        assert_close(at_once, in_turn, name)
        assert case.clipping is None or 0.2 < expected["shares"][0] < 0.8, "some units must be clipped, and some not"
        assert_close(at_once, expected, name)
        assert_close(in_turn, expected, name)


def assert_close(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray], case: str) -> None:
    for key, array in expected.items():
        np.testing.assert_allclose(actual[key], array, rtol=3e-6, atol=3e-7, err_msg=f"{key}, {case}")


def test_the_rehearsal_tells_a_step_that_differs() -> None:
    rehearse(SequentialUpdate, torch.device("cpu"))
    with pytest.raises(AssertionError, match="not close"):
        rehearse(lambda network, optimizer, _: SequentialUpdate(network, optimizer, None), torch.device("cpu"))


def test_the_kernel_compiles_for_a_gpu_that_is_not_here() -> None:
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from nfft.optim.step_triton import MANY, ONE, move_units

    names = move_units.arg_names
    kinds = ["*i32", "*i64", "*fp32", "*fp32", "fp32", "fp32", *["constexpr"] * 4]
    for units, columns in (MANY, ONE):
        settings = {"UNITS": units, "COLUMNS": columns, "EPS": 1e-3, "TINY": 1e-6}
        source = ASTSource(move_units, dict(zip(names, kinds, strict=True)), settings)
        compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": True})
        assert compiled.asm["cubin"]
