"""Handwritten digits: 1,797 grayscale images of 8 x 8 px, 10 classes, shipped with scikit-learn; no download."""

from nfft.task import Task


def load():
    from sklearn.datasets import load_digits

    digits = load_digits()
    return {
        "image": (digits.images * (255 / 16)).round().astype("uint8"),
        "label": digits.target,
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
    citation="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998",
    licence="CC BY 4.0",
)
