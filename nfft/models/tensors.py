"""Named tensors in a file: safetensors, which is read without running any of it."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from nfft.errors import UserError
from nfft.files import writing


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, each in row-major order.

    Raises:
        UserError: when there is no room.
    """
    dense = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    # safetensors makes its file readable only to the user.
    umask = os.umask(0)
    os.umask(umask)
    with writing(path) as temporary:
        try:
            save_file(dense, temporary, metadata={"format": "pt"})
        except SafetensorError as error:
            raise UserError(
                f"{path} cannot be written: {error}. Free some space, then go on with the same command and --resume."
            ) from error
        temporary.chmod(0o666 & ~umask)
