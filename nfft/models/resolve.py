"""Resolves the name of a checkpoint: packaged, in a folder, on the Hub, or random weights."""

import importlib.resources
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm

from nfft.config.run_config import PACKAGED
from nfft.errors import UserError, nearest
from nfft.files import expanded, is_path
from nfft.hub.download import HubAccess, download_snapshot
from nfft.models.checkpoint import ADAPTER, ADAPTER_FILES, Checkpoint, open_checkpoint, random_checkpoint
from nfft.models.stages import STAGE_HEAD
from nfft.text import shorten

OFFLINE = f"To work offline, give --model a local folder or {PACKAGED}, which comes with nfft."


def find_checkpoint(name: str, model_args: dict[str, Any], access: HubAccess | None = None) -> Checkpoint:
    """The checkpoint called `name`; of an adapter, with its base.

    Args:
        name: "nfnet-nano", "scratch:<architecture>", a folder, or a Hub id such as timm/dm_nfnet_f0.dm_in1k.
        model_args: arguments of timm's constructor, for "scratch:" only.
        access: how to reach the Hub, where `name` is one there.

    Raises:
        UserError: when there is no such checkpoint, or it cannot be reached, trusted or used.
    """
    checkpoint = _find(name, model_args, access)
    entry = checkpoint.config.get(ADAPTER)
    if not isinstance(entry, dict):
        return checkpoint
    base_name, revision = entry.get("base"), entry.get("revision")
    if not isinstance(base_name, str) or not (revision is None or isinstance(revision, str)):
        raise UserError(f"{name}: config.json must name the adapter's base; found {shorten(repr(entry), 80)}.")
    # Its own classifier gives way, whichever it is.
    base = _find(base_name, {}, replace(access or HubAccess(), revision=revision)).plain
    if base.folder is None or ADAPTER in base.config:
        raise UserError(
            f"{name}: config.json must name a network as the adapter's base; {shorten(base_name, 80)} is none."
        )
    if base.fingerprint != entry.get("sha256"):
        raise UserError(
            f"{name} is an adapter for {base_name} with other weights than those found here: their hashes differ. "
            "Use the base that it was trained on."
        )
    return replace(checkpoint, base=base)


def find_teacher(name: str) -> Checkpoint:
    """The checkpoint called `name`, for its answers.

    Raises:
        UserError: as `find_checkpoint` does, and for one without weights.
    """
    if name.startswith("scratch:"):
        raise UserError(f"--teacher {name}: it has no weights, and knows nothing. Name the folder of a run.")
    try:
        return find_checkpoint(name, {})
    except UserError as error:
        said = str(error)
        of_option = said.startswith("--model ")
        raise UserError(said.replace("--model", "--teacher", 1) if of_option else f"--teacher: {said}") from error


def _find(name: str, model_args: dict[str, Any], access: HubAccess | None = None) -> Checkpoint:
    if name.startswith("scratch:"):
        return random_checkpoint(name.removeprefix("scratch:"), model_args)
    if model_args:
        raise UserError(f"--model-arg goes with --model scratch:...; {name} already has its weights.")
    folder = expanded(name)
    if access is not None and access.revision is not None and (name == PACKAGED or folder.is_dir()):
        raise UserError(f"--revision {access.revision} is for the Hub; {name} is a folder here, and has but one.")
    if name == PACKAGED:
        return open_checkpoint(name, Path(str(importlib.resources.files("nfft") / "pretrained" / PACKAGED)))
    if folder.is_dir():
        return open_checkpoint(name, folder)
    if is_path(name):
        raise UserError(f"--model {name}: there is no such folder.")
    if "/" not in name:
        pretrained = [f"timm/{checkpoint}" for checkpoint in timm.list_pretrained("*nf*")]
        known = [PACKAGED, *pretrained, *_scratch_names()]
        raise UserError(f"unknown model {name!r}; {nearest(name, known)}")
    return open_checkpoint(name, _download(name, access or HubAccess()))


def _download(name: str, access: HubAccess) -> Path:
    weights = ("model.safetensors", *ADAPTER_FILES, STAGE_HEAD)
    return download_snapshot(name, access, config="config.json", weights=weights, offline=OFFLINE)


def _scratch_names() -> list[str]:
    return [f"scratch:{architecture}" for architecture in timm.list_models("*nf*")]
