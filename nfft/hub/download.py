"""Fetch a checkpoint from the Hub: data only, and seen to be what the Hub has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import OfflineModeIsEnabled, RevisionNotFoundError

from nfft.errors import UserError
from nfft.files import UNWRITABLE, fingerprint_of
from nfft.hub.errors import FAILURES, sentence_of, unreached


@dataclass(frozen=True)
class Source:
    """Where and how to look for a checkpoint on the Hub; see AutoNFNet.from_pretrained."""

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False


def download_snapshot(name: str, source: Source, *, config: str, weights: Sequence[str], offline: str) -> Path:
    """A snapshot of the repository's config and weights; pickles are listed but never fetched.

    Args:
        name: "user/name".
        config, weights: names of the files that are fetched.
        offline: what can be done without the Hub, as a sentence.

    Raises:
        UserError: when the Hub cannot be reached, refuses, or has no such weights.
    """
    try:
        folder = Path(
            snapshot_download(
                name,
                revision=source.revision,
                token=source.token,
                cache_dir=source.cache_dir,
                local_files_only=source.local_files_only,
                allow_patterns=[config, *weights],
            )
        )
        if not any((folder / each).is_file() for each in weights) and not (
            source.local_files_only or constants.HF_HUB_OFFLINE
        ):
            _refuse_pickle(name, HfApi(token=source.token).list_repo_files(name, revision=source.revision))
    except RevisionNotFoundError as error:
        raise UserError(f"{name} has no branch, tag or commit {source.revision!r} on the Hub.") from error
    except OfflineModeIsEnabled as error:
        raise UserError(f"{unreached(name, offline)} It is not cached here.") from error
    except FAILURES as error:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise
        raise UserError(sentence_of(error, name, offline)) from error
    for each in (config, *weights):
        if (folder / each).is_file():
            _check_download(name, folder / each)
    return folder


def _refuse_pickle(name: str, files: list[str]) -> None:
    pickles = [each for each in files if each.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    found = f"it holds only {pickles[0]}, a pickle, which can run code when it is opened" if pickles else "it has none"
    raise UserError(
        f"{name}: expected model.safetensors; {found}. Ask its owner for safetensors, or convert it with "
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
