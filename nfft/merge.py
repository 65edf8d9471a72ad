"""`nfft merge`: a whole network out of an adapter and its base, for those who load networks without nfft."""

import argparse

from nfft import command, options
from nfft.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    return command.run(merge, options.merge_parser().parse_args(arguments))


def merge(given: argparse.Namespace) -> int:
    """Write the merged network into a new folder."""
    from nfft.auto import AutoNFNet

    is_empty_folder = given.output.is_dir() and not any(given.output.iterdir())
    if given.output.exists() and not is_empty_folder:
        raise UserError(f"{given.output} is there already. Choose another folder.")
    model = AutoNFNet.from_pretrained(given.model, revision=given.revision)
    if model.checkpoint.base is None:
        raise UserError(f"{given.model} is no adapter: it is a whole network already.")
    model.save_pretrained(given.output)
    print(f"written to  {given.output}/: model.safetensors, config.json")
    return 0
