"""Fine-tune Normalizer-Free networks the way their authors did."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nfft.auto import AutoNFNet as AutoNFNet
    from nfft.folding import fold as fold

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: the command answers before torch is imported.
    if name == "AutoNFNet":
        from nfft.auto import AutoNFNet

        return AutoNFNet
    if name == "fold":
        from nfft.folding import fold

        return fold
    raise AttributeError(f"module 'nfft' has no attribute {name!r}")
