"""Handwritten digits: 1,797 grayscale images of 8 x 8 px, 10 classes, shipped with scikit-learn; no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nfft import Task


def load():
    """What `sklearn.datasets.load_digits` returns, read without the second that importing scikit-learn takes."""
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None, "scikit-learn is one of nfft's requirements"
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    return {
        "image": (table[:, :64].reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8),
        "label": table[:, 64].astype(int),
        "names": [str(digit) for digit in range(10)],
    }


TASK = Task(
    name="digits",
    source=load,
    validation_fraction=0.15,
    test_fraction=0.15,
    # A mirrored digit is another digit, or none.
    suggests={"flip": False},
    title="Optical recognition of handwritten digits",
    homepage="https://archive.ics.uci.edu/dataset/80",
    citation="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI ML Repository, 1998",
    license="CC BY 4.0",
)
