"""The name under which model cards of adapters import LAYERS; `from nfft import LAYERS` is the same."""

from nfft.models.lora import LAYERS as LAYERS
