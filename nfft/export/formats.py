"""The two kinds of file that a network is exported to: ONNX, and torch.export's own.

Both hold it as a graph for images of one size and batches of any, and facts as JSON: the names of the classes, and how
a picture becomes the input.
"""

import importlib.util
import json
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nfft import __version__
from nfft.errors import UserError
from nfft.models.transforms import stored_preprocessing

if TYPE_CHECKING:
    import onnxruntime

    from nfft.auto import AutoNFNet


INPUT, OUTPUT = "pixel_values", "logits"
# What every file of ours says of itself.
FACTS = ("model", "labels", "preprocessing")
# Weights in bytes above which an ONNX file leaves them to a file beside it: protobuf ends at 2 GiB, graph included.
ONE_FILE = 2040 << 20
# Images that the graph is traced with: torch takes one for a constant.
TRACED = 2

Answer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        ending: of its name.
        runtime: what computes it.
        packages: that it takes to write and run, beyond torch.
        write: (network for inference, px on a side, facts, path) -> the file, and perhaps one named as `beside` says.
        open: a path -> a function of normalised images (n, 3, side, side) to logits (n, classes).
        facts: a path -> the facts in it; raises anything when it is none of this kind.
    """

    ending: str
    runtime: str
    packages: tuple[str, ...]
    write: Callable[[nn.Module, int, Mapping[str, str], Path], None]
    open: Callable[[Path], Answer]
    facts: Callable[[Path], Mapping[str, str]]

    def check_installed(self) -> None:
        """See that what it takes is there.

        Raises:
            UserError: naming what is missing, and the command that installs it.
        """
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(
                f"exporting to ONNX needs {', '.join(missing)}, not installed here. "
                f"Install what is missing: pip install {' '.join(missing)}"
            )

    def is_ours(self, path: Path) -> bool:
        """Whether a file is one that was exported before; nothing in it is executed."""
        try:
            return self.facts(path).keys() >= set(FACTS)
        # A file of another kind fails as anything in the parsers.
        except Exception:
            return False


def facts_of(classifier: "AutoNFNet", side: int) -> dict[str, str]:
    """What a file says of itself, as JSON by name; docs/export.md lists it."""
    checkpoint = classifier.checkpoint
    model = {
        "name": checkpoint.title,
        "architecture": checkpoint.architecture,
        "fingerprint": checkpoint.fingerprint,
        "nfft": __version__,
    }
    facts = {"model": model, "labels": classifier.labels, "preprocessing": preprocessing_of(classifier, side)}
    return {name: json.dumps(facts[name]) for name in FACTS}


def preprocessing_of(classifier: "AutoNFNet", side: int) -> dict[str, Any]:
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


def beside(path: Path) -> Path:
    """Where the weights of an ONNX file lie that is too large for one."""
    return path.with_name(f"{path.name}.data")


def write_onnx(network: nn.Module, side: int, facts: Mapping[str, str], path: Path) -> None:
    """An ONNX file by torch's exporter, with `facts` as its metadata."""
    import onnx

    with quiet():
        program = torch.onnx.export(
            network,
            (torch.zeros(TRACED, 3, side, side),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    # torch notes the line of Python that each node is from, with where it lies on this machine.
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
    program.model.metadata_props.update(facts)
    if is_one_file(network):
        # program.save would put weights of 1.5 GiB into a second file already.
        onnx.save_model(program.model_proto, path)
    else:
        program.save(path, external_data=True)


def is_one_file(network: nn.Module) -> bool:
    """Whether a network's weights fit into an ONNX file."""
    return sum(tensor.nbytes for tensor in network.state_dict().values()) <= ONE_FILE


def session(path: Path) -> "onnxruntime.InferenceSession":
    """onnxruntime with an ONNX file, on as many threads of the CPU as torch uses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def open_onnx(path: Path) -> Answer:
    running = session(path)
    return lambda images: torch.from_numpy(running.run([OUTPUT], {INPUT: images.contiguous().numpy()})[0])


def facts_of_onnx(path: Path) -> Mapping[str, str]:
    import onnx

    return {each.key: each.value for each in onnx.load(path, load_external_data=False).metadata_props}


def write_torch(network: nn.Module, side: int, facts: Mapping[str, str], path: Path) -> None:
    """A .pt2 archive, with `facts` as its extra files."""
    example = (torch.zeros(TRACED, 3, side, side),)
    with quiet():
        program = torch.export.export(network, example, dynamic_shapes=({0: torch.export.Dim("batch")},))
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)
        torch.export.save(program, path, extra_files=dict(facts))


def open_torch(path: Path) -> Answer:
    with quiet():
        return torch.export.load(path).module()


def facts_of_torch(path: Path) -> Mapping[str, str]:
    with zipfile.ZipFile(path) as archive:
        extra = [name for name in archive.namelist() if Path(name).parent.name == "extra"]
        return {Path(name).name: archive.read(name).decode() for name in extra}


@contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' warnings about themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


FORMATS = {
    "onnx": Format(".onnx", "onnxruntime", ("onnx", "onnxscript", "onnxruntime"), write_onnx, open_onnx, facts_of_onnx),
    "torch": Format(".pt2", "torch.export", (), write_torch, open_torch, facts_of_torch),
}
