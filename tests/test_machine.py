"""What is asked of the system for speed changes no number."""

import torch

from nfft.machine import keep_freed_memory


def test_memory_that_is_kept_holds_the_same() -> None:
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(8, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    before = torch.nn.functional.conv2d(images, weight)
    keep_freed_memory()
    keep_freed_memory()
    for _ in range(3):
        assert torch.nn.functional.conv2d(images, weight).equal(before)
