"""Small data for tests, and caches of their own: nothing outside the session's folder is read or written."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from accelerate import Accelerator

# Libraries read these when they are imported, so they are set before any test module is.
CACHES = Path(tempfile.mkdtemp(prefix="nfft-tests-"))
os.environ |= {
    "HF_HOME": str(CACHES / "huggingface"),
    "XDG_CACHE_HOME": str(CACHES / "cache"),
    "MPLCONFIGDIR": str(CACHES / "matplotlib"),
    "TRITON_CACHE_DIR": str(CACHES / "triton"),
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
}
# As many as there may be cores to spare: threads that wait for a core make small networks slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHES, ignore_errors=True)


def noise(side: int = 32, seed: int = 0) -> Image.Image:
    """A square image of random pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of images, one folder a class: image_folder("photos", classes=["ant", "bee"], images=8)."""

    def make(name: str = "photos", *, classes: Sequence[str] = ("ant", "bee"), images: int = 8) -> Path:
        for position, each in enumerate(classes):
            folder = tmp_path / name / each
            folder.mkdir(parents=True)
            for image in range(images):
                noise(seed=position * images + image).save(folder / f"{image}.png")
        return tmp_path / name

    return make


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """Makes a table with a column `image` and those it is given: csv_file(label=["ant", "bee"])."""

    def make(**columns: Sequence[object]) -> Path:
        rows = list(zip(*columns.values(), strict=True))
        lines = [",".join(["image", *columns])]
        for row, values in enumerate(rows):
            noise(seed=row).save(tmp_path / f"{row}.png")
            lines.append(",".join([f"{row}.png", *map(str, values)]))
        path = tmp_path / "table.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return make


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder with a random network of 7 classes, as timm would save it."""
    from nfft import layout, model

    source = layout.random_weights("test_nfnet", {})
    folder = tmp_path / "net"
    folder.mkdir()
    network = model.build(source, list("abcdefg"), dropout=0, stochastic_depth=0)
    layout.save(
        network, folder, checkpoint=source, classes=list("abcdefg"), preprocessing=layout.squashed(source, 32, 0)
    )
    return folder


@pytest.fixture(scope="module")
def accelerator() -> "Iterator[Accelerator]":
    """One process in float32, of which nothing is left for the next file of tests."""
    from accelerate.state import AcceleratorState

    from nfft.device import make_accelerator

    yield make_accelerator("fp32")
    AcceleratorState._reset_state(reset_partial_state=True)
