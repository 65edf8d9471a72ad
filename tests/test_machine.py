"""What is asked of the system for speed changes no number."""

import sys

import pytest
import torch

from nfft.machine import computes_bf16, keep_freed_memory


def test_memory_that_is_kept_holds_the_same() -> None:
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    before = torch.nn.functional.conv2d(images, weight)
    keep_freed_memory()
    keep_freed_memory()
    for _ in range(3):
        assert torch.nn.functional.conv2d(images, weight).equal(before)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities"), reason="this torch does not tell")
def test_linux_says_of_bf16_what_torch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    said = computes_bf16()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert computes_bf16() == said
