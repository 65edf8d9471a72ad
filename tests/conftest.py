"""Small data for tests, and caches of their own: nothing outside the session's folder is read or written."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pictures import noise

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


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from all tests but those of GPUs: what others expect is what a CPU computes."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # What is imported and collected stays to the end: looking through it again and again takes a tenth of the time.
    gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()
    shutil.rmtree(CACHES, ignore_errors=True)


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
    from nfft.models.build import build_network
    from nfft.models.checkpoint import random_checkpoint
    from nfft.models.saving import save_network
    from nfft.models.transforms import squash_preprocessing

    source = random_checkpoint("test_nfnet", {})
    folder = tmp_path / "net"
    folder.mkdir()
    network = build_network(source, list("abcdefg"), dropout=0, stochastic_depth=0)
    save_network(
        network, folder, checkpoint=source, classes=list("abcdefg"), preprocessing=squash_preprocessing(source, 32, 0)
    )
    return folder


@pytest.fixture(scope="module")
def blank_pictures() -> Iterator[None]:
    """Runs in this process leave pictures with nothing on them: to draw them takes half the time of a short run.

    For tests that look at no picture. How they look is tested in tests/reporting/test_plots.py.
    """
    from matplotlib.figure import Figure

    from nfft.training import outputs

    with pytest.MonkeyPatch.context() as patch:
        for plot in ("plot_curves", "plot_confusion", "plot_penalties"):
            patch.setattr(outputs, plot, lambda *_: Figure())
        yield


@pytest.fixture
def accelerator() -> "Accelerator":
    """One process in float32."""
    from nfft.distributed.accelerator import make_accelerator

    return make_accelerator("fp32")


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps its first precision for the life of a process: let each test choose its own."""
    yield
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
