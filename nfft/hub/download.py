"""Downloads a checkpoint from the Hub: data only, and compared with the hash that the Hub has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import OfflineModeIsEnabled, RevisionNotFoundError

from nfft.errors import UserError
from nfft.files import fingerprint_of
from nfft.hub.errors import in_words, is_silence, unreached


@dataclass(frozen=True)
class HubAccess:
    """How to reach a checkpoint on the Hub; see AutoNFNet.from_pretrained."""

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False


def download_snapshot(name: str, access: HubAccess, *, config: str, weights: Sequence[str], offline: str) -> Path:
    """A snapshot of the repository's config and weights; pickles are never downloaded.

    Args:
        name: "user/name".
        config, weights: names of the files to download.
        offline: what can be done without the Hub, as a sentence.

    Raises:
        UserError: when the Hub cannot be reached, refuses, or has no such weights.
    """
    is_local = access.local_files_only or _is_silent(name, access)
    with in_words(name, offline):
        try:
            folder = Path(
                snapshot_download(
                    name,
                    revision=access.revision,
                    token=access.token,
                    cache_dir=access.cache_dir,
                    local_files_only=is_local,
                    allow_patterns=[config, *weights],
                )
            )
            if not any((folder / file).is_file() for file in weights) and not (is_local or constants.HF_HUB_OFFLINE):
                _refuse_pickle(name, HfApi(token=access.token).list_repo_files(name, revision=access.revision))
        except RevisionNotFoundError as error:
            raise UserError(f"{name} has no branch, tag or commit {access.revision!r} on the Hub.") from error
        except OfflineModeIsEnabled as error:
            raise UserError(f"{unreached(name, offline)} It is not cached here.") from error
    for file in (config, *weights):
        if (folder / file).is_file():
            _check_download(name, folder / file)
    return folder


def _is_silent(name: str, access: HubAccess) -> bool:
    """Whether the Hub keeps the connection and says nothing: its client would wait for ever. Asked once, by a line."""
    try:
        HfApi(token=access.token).model_info(
            name, revision=access.revision, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, expand=["sha"]
        )
    except Exception as error:  # any other is raised again where the files are asked for
        return is_silence(error)
    return False


def _refuse_pickle(name: str, files: list[str]) -> None:
    pickles = [file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    weights = "it has none"
    if pickles:
        weights = f"it holds only {pickles[0]}, a pickle, which can run code when it is opened"
    raise UserError(
        f"{name}: expected model.safetensors; {weights}. Ask its owner for safetensors, or convert it with "
        "https://huggingface.co/spaces/safetensors/convert and pass the folder to --model."
    )


def _check_download(name: str, file: Path) -> None:
    """See that a large file is what the Hub has: its client keeps it under the hash, and compares only the length."""
    blob = file.resolve()
    if not (file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob.name)):
        return
    if fingerprint_of(blob) == blob.name:
        return
    blob.unlink()
    raise UserError(f"{name}: {file.name} was damaged on its way here and has been removed. Try again.")
