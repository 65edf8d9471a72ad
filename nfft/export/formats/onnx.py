"""ONNX, for onnxruntime and whatever else reads it, by torch's exporter; facts are the model's metadata."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from nfft.export.formats import INPUT, LARGEST, OUTPUT, TRACED, Answer, Format, quiet

if TYPE_CHECKING:
    import onnxruntime

# Weights in bytes above which a file leaves them to one beside it: protobuf ends at 2 GiB, graph included.
ONE_FILE = 2040 << 20


def write(network: nn.Module, side: int, facts: Mapping[str, str], path: Path) -> None:
    import onnx

    with quiet():
        program = torch.onnx.export(
            network,
            (torch.zeros(TRACED, 3, side, side),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", max=LARGEST)},),
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


def open_file(path: Path) -> Answer:
    running = session(path)
    return lambda images: torch.from_numpy(running.run([OUTPUT], {INPUT: images.contiguous().numpy()})[0])


def facts_in(path: Path) -> Mapping[str, str]:
    import onnx

    return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}


FORMAT = Format(
    title="ONNX",
    ending=".onnx",
    runtime="onnxruntime",
    packages=("onnx", "onnxscript", "onnxruntime"),
    write=write,
    open=open_file,
    facts=facts_in,
)
