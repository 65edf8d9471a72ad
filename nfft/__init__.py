"""Fine-tune Normalizer-Free networks the way their authors did."""

__version__ = "0.1.0"
