"""AGC goes before every optimizer: AdamW against its arithmetic in NumPy float64, Muon against the singular values."""

from collections.abc import Iterator

import numpy as np
import pytest
import timm
import torch
from reference import clip
from torch import Tensor, nn
from update_run import DECAY, FLOORED, LR, SCALE, SCALED, STEPS, Case, Shapes, floors, gradients, network

from nfft.optim.agc import clip_gradients
from nfft.optim.muon import BETAS, COEFFICIENTS, Muon, matrices, orthogonal
from nfft.optim.optimizers import make_optimizer
from nfft.optim.param_groups import classifier, clipped, optimizer_groups
from nfft.optim.step import SequentialUpdate, fastest_update

UNCLIPPED = "head.weight"
MOMENTUM = 0.8
MATRICES = {"stem.weight": 1, "grouped.weight": 4, "pointwise.weight": 1, "wide.weight": 1, "thin.weight": 1}
CASES = {
    "channels last": Case(),
    # Gradients lie in memory as their weights do: autograd sees to it.
    "channels first": Case(last=False, gradients_last=False),
    "no clipping": Case(clipping=None),
    "floors": Case(floors=True),
}


def moved(name: str, case: Case, *, fused: bool) -> tuple[Shapes, torch.optim.Optimizer]:
    """The network after a case's steps by an optimizer."""
    shapes = network(case.last)
    groups = optimizer_groups(shapes, DECAY, {shapes.get_parameter(SCALED): SCALE})
    optimizer = make_optimizer(name, shapes, groups, lr=LR, momentum=MOMENTUM, fused=fused)
    for group in optimizer.param_groups:
        group["lr"] = LR * group["scale"]
    update = SequentialUpdate(shapes, optimizer, None)
    for step in range(STEPS):
        for parameter, gradient in gradients(shapes, step, case).items():
            shapes.get_parameter(parameter).grad = gradient
        update(clipping=case.clipping, floors=floors(shapes) if case.floors else None)
        optimizer.zero_grad()
    return shapes, optimizer


def clipped_gradients(shapes: Shapes, weights: dict[str, np.ndarray], case: Case) -> Iterator[dict[str, np.ndarray]]:
    """Of each step, in float64; `weights` are where they are by then."""
    for step in range(STEPS):
        draws = {name: gradient.double().numpy() for name, gradient in gradients(shapes, step, case).items()}
        for name, gradient in draws.items():
            if case.clipping is not None and name != UNCLIPPED:
                least = floors(shapes)[shapes.get_parameter(name)].numpy() if case.floors and name == FLOORED else 1e-3
                draws[name], over = clip(weights[name], gradient, case.clipping, least)
                assert name != "stem.weight" or 0 < over.mean() < 1, "some units must be clipped, and some not"
        yield draws


def decayed(shapes: Shapes, name: str) -> bool:
    owner = shapes.get_submodule(name.rpartition(".")[0]) if "." in name else None
    return name.endswith("weight") and isinstance(owner, nn.modules.conv._ConvNd | nn.Linear)


def reference_steps(case: Case, moves: dict[str, int]) -> dict[str, np.ndarray]:
    """The steps of a case in float64: Muon's for the matrices in `moves`, AdamW's for the rest."""
    shapes, beta, square_beta = network(case.last), BETAS[0] if moves else MOMENTUM, BETAS[1]
    weights = {name: parameter.detach().double().numpy() for name, parameter in shapes.named_parameters()}
    means, squares = ({name: np.zeros_like(weight) for name, weight in weights.items()} for _ in range(2))
    for step, draws in enumerate(clipped_gradients(shapes, weights, case), start=1):
        for name, g in draws.items():
            lr = LR * (SCALE if name == SCALED else 1)
            weights[name] = weights[name] * (1 - lr * DECAY * decayed(shapes, name))
            if name in moves:
                means[name] = MOMENTUM * means[name] + (1 - MOMENTUM) * g
                direction = along(MOMENTUM * means[name] + (1 - MOMENTUM) * g, moves[name])
            else:
                means[name] = beta * means[name] + (1 - beta) * g
                squares[name] = square_beta * squares[name] + (1 - square_beta) * g**2
                direction = means[name] / (1 - beta**step) / (np.sqrt(squares[name] / (1 - square_beta**step)) + 1e-8)
            weights[name] = weights[name] - lr * direction
    return weights


def along(update: np.ndarray, groups: int) -> np.ndarray:
    """Each group's matrix with its singular values brought to about 1, of the length that AdamW's steps have."""
    matrices = update.reshape(groups, -1, update[0].size)
    left, values, right = np.linalg.svd(matrices, full_matrices=False)
    values = values / np.sqrt((matrices**2).sum((1, 2)))[:, None]
    for a, b, c in COEFFICIENTS:
        values = a * values + b * values**3 + c * values**5
    return 0.2 * max(matrices.shape[1:]) ** 0.5 * ((left * values[:, None]) @ right).reshape(update.shape)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "not fused"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_steps_are_the_arithmetic_after_agc(name: str, case: Case, fused: bool) -> None:
    found, optimizer = moved(name, case, fused=fused)
    names = {parameter: name for name, parameter in found.named_parameters()}
    moves = {names[weight]: count for weight, count in optimizer.matrices.items()} if name == "muon" else {}
    assert moves == (MATRICES if name == "muon" else {})
    for parameter, expected in reference_steps(case, moves).items():
        actual = found.get_parameter(parameter).detach()
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4, err_msg=parameter)
    for parameter, left in network(case.last).named_parameters():
        if parameter in ("frozen", "unused"):
            assert torch.equal(found.get_parameter(parameter), left)


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 3, 3, 3), (8, 8, 1, 1)])
def test_orthogonal_is_the_polar_factor_to_a_tolerance(shape: tuple[int, ...]) -> None:
    update = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(update).flatten(1).double()
    left, _, right = torch.linalg.svd(update.flatten(1).double(), full_matrices=False)
    # The smallest singular values are the last to reach 1.
    assert (found - left @ right).norm() / (left @ right).norm() < 0.3


def test_muon_without_momentum_does_not_depend_on_the_gradients_length() -> None:
    update = torch.randn(12, 30, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonal(update), orthogonal(1e-3 * update), rtol=0, atol=1e-4)
    assert orthogonal(torch.zeros(3, 4)).eq(0).all()


@pytest.mark.parametrize("architecture", ["test_nfnet", "nf_resnet26", "nf_regnet_b0", "eca_nfnet_l0"])
def test_what_muon_leaves_to_adamw(architecture: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=7)
    moves = matrices(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    left = {name for parameter, name in names.items() if parameter not in moves}
    assert classifier(model).weight not in moves
    assert {name for name in names.values() if name.endswith(("gain", "bias"))} <= left
    convolutions = {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    assert {name for name, conv in convolutions.items() if conv.groups < conv.in_channels} <= {
        names[parameter] for parameter in moves
    }
    assert all(
        moves[convolutions[name].weight] == convolutions[name].groups for name in convolutions if name not in left
    )


def test_only_sgd_is_fused_with_agc() -> None:
    shapes = network(last=True)
    for name in ("adamw", "muon"):
        optimizer = make_optimizer(name, shapes, optimizer_groups(shapes, 0), lr=0.1, momentum=0.9, fused=True)
        assert isinstance(fastest_update(shapes, optimizer, None, scaled=False), SequentialUpdate)


def test_a_gradient_that_is_not_finite_shows_before_it_spreads() -> None:
    shapes = network(last=True)
    optimizer = Muon(optimizer_groups(shapes, 0), matrices(shapes), lr=0.1, momentum=0.9)
    gradient: Tensor = torch.full_like(shapes.stem.weight, float("nan"))
    shapes.stem.weight.grad = gradient
    assert clip_gradients(clipped(shapes), 0.1).isnan()
    assert SequentialUpdate(shapes, optimizer, None)(clipping=0.1).isnan()
