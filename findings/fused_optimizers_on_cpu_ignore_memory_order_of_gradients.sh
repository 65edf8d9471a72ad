#!/usr/bin/env bash
# torch's fused SGD and AdamW on a CPU update other elements than the gradient belongs to, where the gradient lies in
# another memory order than the weight: here a weight in channels_last, as convolutions have it, and a contiguous
# gradient of the same shape. Nothing is raised or warned of. Without fused, or with both in one order, steps are right.
# Autograd's own gradients take the weight's order; those that a program makes or assigns itself need not.
#
# Seen with torch 2.15.0 on x86-64:
#   SGD, gradient in the weight's order: largest difference from fused=False 0
#   SGD, contiguous gradient: largest difference from fused=False 0.6
#   AdamW, gradient in the weight's order: largest difference from fused=False 7e-09
#   AdamW, contiguous gradient: largest difference from fused=False 0.2
set -euo pipefail
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
python3 -m venv "$WORK/venv"
"$WORK/venv/bin/pip" install --quiet "torch==2.15.0" "numpy==2.4.6"
"$WORK/venv/bin/python" - <<'PYTHON'
import torch

print("torch", torch.__version__)
gradient = torch.arange(24.0).reshape(2, 3, 2, 2)
alternating = torch.where(gradient % 2 == 0, 1.0, -1.0) * (gradient + 1)
off = {}
for name, grad, arguments in (("SGD", gradient, {"lr": 0.1}), ("AdamW", alternating, {"lr": 0.1, "weight_decay": 0.0})):
    for order, laid_out in (
        ("gradient in the weight's order", grad.to(memory_format=torch.channels_last)),
        ("contiguous gradient", grad),
    ):
        weights = []
        for fused in (False, True):
            weight = torch.nn.Parameter(torch.zeros(2, 3, 2, 2).to(memory_format=torch.channels_last))
            weight.grad = laid_out.clone()
            getattr(torch.optim, name)([weight], fused=fused, **arguments).step()
            weights.append(weight.detach().clone())
        off[name, order] = float((weights[0] - weights[1]).abs().max())
        print(f"{name}, {order}: largest difference from fused=False {off[name, order]:.1g}")
for (name, order), difference in off.items():
    assert (difference < 1e-6) == ("weight's" in order), (name, order, difference)
PYTHON
