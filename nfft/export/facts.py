"""What an exported file says of itself; docs/export.md lists it."""

import json
import math
from typing import Any

from nfft import __version__
from nfft.auto import AutoNFNet
from nfft.export.formats import FACTS
from nfft.models.transforms import stored_preprocessing


def facts_of(classifier: AutoNFNet, side: int) -> dict[str, str]:
    """Each fact as JSON, by its name."""
    checkpoint = classifier.checkpoint
    model = {
        "name": checkpoint.title,
        "architecture": checkpoint.architecture,
        "fingerprint": checkpoint.fingerprint,
        "nfft": __version__,
    }
    facts = {"model": model, "labels": classifier.labels, "preprocessing": preprocessing_of(classifier, side)}
    return {name: json.dumps(facts[name]) for name in FACTS}


def preprocessing_of(classifier: AutoNFNet, side: int) -> dict[str, Any]:
    """The checkpoint's evaluation in timm's words, and in px: what an image is resized to, and the box cut out of it.

    Where timm keeps the aspect ratio, `resize` is one side (crop_mode tells which), and the box depends on the image.
    """
    stored = stored_preprocessing(classifier.checkpoint, side)
    resized = math.floor(side / stored["crop_pct"])
    if stored["crop_mode"] != "squash":
        return {**stored, "resize": resized, "crop": None}
    # torchvision rounds so.
    start = round((resized - side) / 2)
    return {**stored, "resize": [resized, resized], "crop": [start, start, start + side, start + side]}
