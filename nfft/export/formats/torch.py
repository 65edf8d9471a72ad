"""What torch.export saves, for torch.export.load and AOTInductor; facts are the archive's extra files."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from nfft.export.formats import LARGEST, TRACED, Answer, Format, quiet


def write(network: nn.Module, side: int, facts: Mapping[str, str], path: Path) -> None:
    example = (torch.zeros(TRACED, 3, side, side),)
    with quiet():
        batch = torch.export.Dim("batch", max=LARGEST)
        program = torch.export.export(network, example, dynamic_shapes=({0: batch},), strict=False)
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)
        torch.export.save(program, path, extra_files=dict(facts))


def open_file(path: Path) -> Answer:
    with quiet():
        return torch.export.load(path).module()


def facts_in(path: Path) -> Mapping[str, str]:
    with zipfile.ZipFile(path) as archive:
        extra = [name for name in archive.namelist() if Path(name).parent.name == "extra"]
        return {Path(name).name: archive.read(name).decode() for name in extra}


FORMAT = Format(
    title="torch.export",
    ending=".pt2",
    runtime="torch.export",
    packages=(),
    write=write,
    open=open_file,
    facts=facts_in,
)
