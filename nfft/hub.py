"""The only door to the Hub: find a checkpoint by name and bring it here."""

import importlib.resources
from pathlib import Path
from typing import Any

from nfft import layout
from nfft.errors import UserError, nearest
from nfft.files import UNWRITABLE

PACKAGED = "nfnet-nano"


def find(name: str, model_args: dict[str, Any]) -> layout.Checkpoint:
    """The checkpoint called `name`.

    Args:
        name: "nfnet-nano", "scratch:<timm architecture>", a folder, or a Hub id such as timm/dm_nfnet_f0.dm_in1k.
        model_args: arguments of timm's constructor, for "scratch:" alone.

    Raises:
        UserError: when there is no such checkpoint, or it cannot be reached or used.
    """
    if name.startswith("scratch:"):
        return layout.random_weights(name.removeprefix("scratch:"), model_args)
    if model_args:
        raise UserError(f"--model-arg goes with --model scratch:...; {name} already has its weights.")
    if name == PACKAGED:
        return layout.open_folder(name, Path(str(importlib.resources.files("nfft") / "pretrained" / PACKAGED)))
    folder = Path(name).expanduser()
    if folder.is_dir():
        return layout.open_folder(name, folder)
    if name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1:
        raise UserError(f"--model {name}: there is no such folder.")
    if "/" not in name:
        import timm

        known = [PACKAGED, *(f"timm/{each}" for each in timm.list_pretrained("*nf*")), *_scratch_names()]
        raise UserError(f"unknown model {name!r}; {nearest(name, known)}")
    return layout.open_folder(name, _download(name))


def _scratch_names() -> list[str]:
    import timm

    return [f"scratch:{each}" for each in timm.list_models("*nf*")]


def _download(name: str) -> Path:
    """A snapshot of the repository's config and weights; pickles are listed but never fetched."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        folder = Path(snapshot_download(name, allow_patterns=["config.json", "model.safetensors"]))
        if not (folder / "model.safetensors").is_file() and not constants.HF_HUB_OFFLINE:
            _refuse_pickle(name, HfApi().list_repo_files(name))
        return folder
    except GatedRepoError as error:
        raise UserError(f"{name} is gated: ask for access on its page on the Hub, then `hf auth login`.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(
            f"{name} is neither a folder here nor a model on the Hub: check its spelling, or that you have access "
            "(`hf auth login`)."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        if error.errno in UNWRITABLE:
            raise
        raise UserError(
            f"the Hub could not be reached for the model {name}, which is not cached here. To work offline, give "
            f"--model a local folder or {PACKAGED}, which comes with nfft."
        ) from error


def _refuse_pickle(name: str, files: list[str]) -> None:
    pickles = [each for each in files if each.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    found = f"it holds only {pickles[0]}, a pickle, which can run code when it is opened" if pickles else "it has none"
    raise UserError(
        f"{name}: expected model.safetensors; {found}. Ask its owner for safetensors, or convert it with "
        "https://huggingface.co/spaces/safetensors/convert and pass the folder to --model "
    )
