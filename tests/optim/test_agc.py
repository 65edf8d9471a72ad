"""Adaptive gradient clipping does what the paper's formula says, unit by unit."""

import numpy as np
import pytest
import timm
import torch
from timm.utils.agc import adaptive_clip_grad
from torch import nn

from nfft.optim.agc import clip_gradients
from nfft.optim.param_groups import clipped

CLIPPING = 0.02


def reference_clipping(
    weight: np.ndarray, gradient: np.ndarray, clipping: float, eps: float = 1e-3
) -> tuple[np.ndarray, int, int]:
    """Clipped gradient, units clipped and units, one unit at a time in float64.

    A unit is G_i with w* = max(‖W_i‖, eps): where ‖G_i‖ > λ·w* it becomes G_i · λ·w* / max(‖G_i‖, 1e-6).
    """
    whole = np.squeeze(weight).ndim <= 1
    rows_w = weight.reshape(1 if whole else len(weight), -1).astype(np.float64)
    rows_g = gradient.reshape(rows_w.shape).astype(np.float64)
    out, over = rows_g.copy(), 0
    for i, (w, g) in enumerate(zip(rows_w, rows_g, strict=True)):
        limit = clipping * max(np.sqrt((w**2).sum()), eps)
        norm = np.sqrt((g**2).sum())
        if norm > limit:
            out[i] = g * limit / max(norm, 1e-6)
            over += 1
    return out.reshape(weight.shape), over, len(rows_w)


def parameter(weight: torch.Tensor, gradient: torch.Tensor) -> nn.Parameter:
    leaf = nn.Parameter(weight)
    leaf.grad = gradient
    return leaf


def random_parameter(shape: tuple[int, ...], scale: float = 0.01, seed: int = 0) -> nn.Parameter:
    draw = torch.Generator().manual_seed(seed)
    return parameter(torch.randn(shape, generator=draw), scale * torch.randn(shape, generator=draw))


SHAPES = {
    "convolution": (16, 8, 3, 3),
    "grouped convolution": (16, 2, 3, 3),
    "depthwise convolution": (12, 1, 3, 3),
    "1-d convolution of one channel": (1, 1, 3),
    "linear": (10, 32),
    "linear with one output": (1, 32),
    "bias": (16,),
    "gain": (16, 1, 1, 1),
    "skip gain": (),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("scale", [1e-4, 0.018, 1.0])
def test_agrees_with_float64_reference(shape: tuple[int, ...], scale: float) -> None:
    weight = random_parameter(shape, scale)
    expected, over, units = reference_clipping(weight.detach().numpy(), weight.grad.numpy(), CLIPPING)
    share = clip_gradients([weight], CLIPPING)
    np.testing.assert_allclose(weight.grad.numpy(), expected, rtol=2e-6, atol=1e-12)
    assert share.item() == np.float32(over) / np.float32(units)


def test_gain_is_one_unit() -> None:
    # One of its elements has a large gradient next to a small weight; the norm of the whole does not.
    gain = parameter(torch.ones(100, 1, 1, 1), torch.zeros(100, 1, 1, 1))
    gain.grad[0] = 0.09
    assert clip_gradients([gain], 0.01).item() == 0.0
    assert gain.grad[0].item() == np.float32(0.09)
    gain.grad[0] = 0.2
    assert clip_gradients([gain], 0.01).item() == 1.0
    assert gain.grad[0].item() == pytest.approx(0.01 * 10)


def test_gains_by_element_are_timms() -> None:
    gain, weight, bias = (random_parameter(shape, 1.0) for shape in ((16, 1, 1, 1), (16, 4, 3, 3), (16,)))
    theirs = [parameter(tensor.detach().clone(), tensor.grad.clone()) for tensor in (gain, weight, bias)]
    adaptive_clip_grad(theirs, CLIPPING)
    clip_gradients([gain, weight, bias], CLIPPING, whole_gains=False)
    for mine, other in zip((gain, weight, bias), theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    whole = random_parameter((16, 1, 1, 1), 1.0)
    clip_gradients([whole], CLIPPING)
    assert not torch.allclose(whole.grad, gain.grad)


def test_zero_initialized_units_can_move() -> None:
    bias = parameter(torch.zeros(4), torch.tensor([3.0, 0.0, 4.0, 0.0]))
    clip_gradients([bias], 0.1)
    torch.testing.assert_close(bias.grad, torch.tensor([0.6e-4, 0.0, 0.8e-4, 0.0]))
    larger_floor = parameter(torch.zeros(()), torch.tensor(2.0))
    clip_gradients([larger_floor], 0.1, eps=0.5)
    assert larger_floor.grad.item() == pytest.approx(0.05)


def test_zero_gradient_stays_zero() -> None:
    weight = parameter(torch.zeros(3, 4), torch.zeros(3, 4))
    assert clip_gradients([weight], 0.01).item() == 0.0
    assert torch.equal(weight.grad, torch.zeros(3, 4))


def test_fraction_counts_units_of_all_parameters() -> None:
    weight = parameter(torch.ones(5, 4), torch.zeros(5, 4))
    weight.grad[1] = weight.grad[3] = 1.0
    bias = parameter(torch.ones(7), torch.ones(7))
    assert clip_gradients([weight, bias], 0.1).item() == 0.5  # 2 of 5 rows, and the bias: 3 of 6
    assert clip_gradients([], 0.1).item() == 0.0


def test_a_clipped_gradient_is_within_its_limit_and_keeps_its_direction() -> None:
    weight = random_parameter((16, 8, 3, 3), 1.0)
    before = weight.grad.flatten(1).clone()
    clip_gradients([weight], CLIPPING)
    after = weight.grad.flatten(1)
    assert (after.norm(dim=1) <= CLIPPING * weight.detach().flatten(1).norm(dim=1) * (1 + 1e-6)).all()
    torch.testing.assert_close(torch.cosine_similarity(before, after), torch.ones(16))


def test_channels_last_is_the_same() -> None:
    rows, last = random_parameter((16, 8, 3, 3), 0.02), random_parameter((16, 8, 3, 3), 0.02)
    last.data = last.data.to(memory_format=torch.channels_last)
    last.grad = last.grad.to(memory_format=torch.channels_last)
    assert clip_gradients([rows], CLIPPING) == clip_gradients([last], CLIPPING)
    torch.testing.assert_close(rows.grad, last.grad, rtol=1e-6, atol=0)
    assert last.grad.is_contiguous(memory_format=torch.channels_last)


def test_norms_of_bfloat16_are_taken_in_float32() -> None:
    # The norm of the gradient is 0.2502; as bfloat16 it would be 0.25, which is not over the limit.
    weight = parameter(torch.eye(2, dtype=torch.bfloat16), torch.zeros(2, 2, dtype=torch.bfloat16))
    weight.grad[0] = torch.tensor([0.25, 0.01])
    assert clip_gradients([weight], 0.25).item() == 0.5
    assert weight.grad.dtype == torch.bfloat16
    torch.testing.assert_close(weight.grad[0].float(), torch.tensor([0.25, 0.01]), rtol=0.01, atol=0)


@pytest.mark.parametrize("clipping", [0, 0.0, -0.01, float("nan")])
def test_lambda_must_be_above_0(clipping: float) -> None:
    weight = random_parameter((4, 3))
    before = weight.grad.clone()
    with pytest.raises(ValueError, match=f"AGC's lambda must be above 0; got {clipping}"):
        clip_gradients([weight], clipping)
    assert torch.equal(weight.grad, before)


def test_parameter_without_gradient_is_passed_over() -> None:
    frozen, trained = nn.Parameter(torch.ones(3)), parameter(torch.ones(3), torch.ones(3))
    assert clip_gradients([frozen, trained], 0.1).item() == 1.0
    assert frozen.grad is None


@pytest.mark.parametrize("skipinit", [False, True])
def test_whole_network(skipinit: bool) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_nfnet", num_classes=5, skipinit=skipinit)
    network(torch.randn(2, 3, 32, 32)).square().sum().mul(100).backward()
    before = {name: weight.grad.numpy().copy() for name, weight in network.named_parameters()}
    share = clip_gradients(clipped(network), CLIPPING).item()

    over = units = 0
    for name, weight in network.named_parameters():
        if name == "head.fc.weight":
            np.testing.assert_array_equal(weight.grad.numpy(), before[name])
            continue
        expected, over_here, units_here = reference_clipping(weight.detach().numpy(), before[name], CLIPPING)
        np.testing.assert_allclose(weight.grad.numpy(), expected, rtol=2e-5, atol=1e-9, err_msg=name)
        over, units = over + over_here, units + units_here
    assert share == pytest.approx(over / units)
    assert np.linalg.norm(network.head.fc.bias.grad) < np.linalg.norm(before["head.fc.bias"])
    assert any("skipinit_gain" in name for name in before) == skipinit
