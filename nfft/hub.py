"""The only door to the Hub: find a checkpoint by name and bring it here; put a folder there."""

import importlib.resources
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfft.errors import UserError, nearest
from nfft.files import UNWRITABLE, expanded, fingerprint_of, is_path
from nfft.run import NETWORK, RESULTS, RUN

if TYPE_CHECKING:
    from nfft.layout import Checkpoint

PACKAGED = "nfnet-nano"
# What of a folder is shared: nothing of the optimizer's, and no path of anyone's machine.
SHARED = (
    *NETWORK, "README.md", RESULTS, RUN, "evaluations.json", "curves.png", "confusion.png",
    ".eval_results/*.yaml",
)  # fmt: skip


OFFLINE = f"To work offline, give --model a local folder or {PACKAGED}, which comes with nfft."


@dataclass(frozen=True)
class Source:
    """Where and how to look for a checkpoint on the Hub; see AutoNFNet.from_pretrained."""

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False


def find(name: str, model_args: dict[str, Any], source: Source | None = None) -> "Checkpoint":
    """The checkpoint called `name`; of an adapter, with its base.

    Args:
        name: "nfnet-nano", "scratch:<architecture>", a folder, or a Hub id such as timm/dm_nfnet_f0.dm_in1k.
        model_args: arguments of timm's constructor, for "scratch:" only.

    Raises:
        UserError: when there is no such checkpoint, or it cannot be reached, trusted or used.
    """
    from nfft import layout

    found = _find(name, model_args, source)
    entry = found.config.get(layout.ADAPTER)
    if not isinstance(entry, dict):
        return found
    base_name, revision = entry.get("base"), entry.get("revision")
    if not isinstance(base_name, str) or not (revision is None or isinstance(revision, str)):
        raise UserError(f"{name}: config.json must name the adapter's base; found {entry!r}.")
    base = _find(base_name, {}, replace(source or Source(), revision=revision))
    if base.folder is None or layout.ADAPTER in base.config:
        raise UserError(f"{name}: config.json must name a network as the adapter's base; {base_name} is none.")
    if base.fingerprint != entry.get("sha256"):
        raise UserError(
            f"{name} is an adapter for {base_name} with other weights than those found here: their hashes differ. "
            "Use the base that it was trained on."
        )
    return replace(found, base=base)


def _find(name: str, model_args: dict[str, Any], source: Source | None = None) -> "Checkpoint":
    from nfft import layout

    if name.startswith("scratch:"):
        return layout.random_weights(name.removeprefix("scratch:"), model_args)
    if model_args:
        raise UserError(f"--model-arg goes with --model scratch:...; {name} already has its weights.")
    folder = expanded(name)
    if source is not None and source.revision is not None and (name == PACKAGED or folder.is_dir()):
        raise UserError(f"--revision {source.revision} is for the Hub; {name} is a folder here, and has but one.")
    if name == PACKAGED:
        return layout.open_folder(name, Path(str(importlib.resources.files("nfft") / "pretrained" / PACKAGED)))
    if folder.is_dir():
        return layout.open_folder(name, folder)
    if is_path(name):
        raise UserError(f"--model {name}: there is no such folder.")
    if "/" not in name:
        import timm

        known = [PACKAGED, *(f"timm/{each}" for each in timm.list_pretrained("*nf*")), *_scratch_names()]
        raise UserError(f"unknown model {name!r}; {nearest(name, known)}")
    return layout.open_folder(name, _download(name, source or Source()))


def _scratch_names() -> list[str]:
    import timm

    return [f"scratch:{each}" for each in timm.list_models("*nf*")]


def _download(name: str, source: Source) -> Path:
    """A snapshot of the repository's config and weights; pickles are listed but never fetched."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import OfflineModeIsEnabled, RevisionNotFoundError

    try:
        folder = Path(
            snapshot_download(
                name,
                revision=source.revision,
                token=source.token,
                cache_dir=source.cache_dir,
                local_files_only=source.local_files_only,
                allow_patterns=list(NETWORK),
            )
        )
        if not any((folder / each).is_file() for each in NETWORK[1:]) and not (
            source.local_files_only or constants.HF_HUB_OFFLINE
        ):
            _refuse_pickle(name, HfApi(token=source.token).list_repo_files(name, revision=source.revision))
    except RevisionNotFoundError as error:
        raise UserError(f"{name} has no branch, tag or commit {source.revision!r} on the Hub.") from error
    except OfflineModeIsEnabled as error:
        raise UserError(f"{_unreached(name)} It is not cached here.") from error
    except _failures() as error:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise
        raise UserError(_sentence(error, name)) from error
    for each in NETWORK:
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


def push(
    folder: Path,
    repository: str,
    *,
    private: bool | None,
    revision: str | None,
    create_pr: bool,
    message: str,
    token: str | bool | None = None,
    keep: Sequence[str] = (),
) -> str:
    """Put what is shared of `folder` (SHARED) into a repository as one commit; what has not changed is not sent.

    Args:
        repository: "user/name"; made, private if asked for, when there is none.
        revision: a branch, made when there is none; the main one when absent.
        create_pr: propose the commit instead.
        keep: files that are left alone where the repository has them.

    Returns:
        The address of the commit, or of the proposal.

    Raises:
        UserError: when the Hub cannot be reached or refuses; the folder stays as it is.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    check_target(repository, revision, create_pr)
    # "No files have been modified" is no warning, and bars are for those who wait for gigabytes on a terminal.
    logging.getLogger("huggingface_hub.hf_api").setLevel(logging.ERROR)
    disable_progress_bars()
    api = HfApi(token=token, library_name="nfft")
    try:
        if not create_pr or not api.repo_exists(repository):
            api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        present = api.list_repo_files(repository, revision=revision) if keep else []
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[each for each in SHARED if not (each in keep and each in present)],
            # A network that was there before under other names would be loaded with this one's config.json.
            delete_patterns=[each for each in NETWORK if not (folder / each).is_file()],
            commit_message=message,
            revision=revision,
            create_pr=create_pr,
        )
    except _failures() as error:
        raise UserError(_sentence(error, repository, reaching="")) from error
    return commit.pr_url or commit.commit_url


def card_there(repository: str, revision: str | None) -> str | None:
    """The README.md that a repository has, if it is there and has one.

    Raises:
        UserError: when the Hub cannot be asked.
    """
    from huggingface_hub import HfApi, hf_hub_download

    try:
        api = HfApi(library_name="nfft")
        if not api.repo_exists(repository) or not api.file_exists(repository, "README.md", revision=revision):
            return None
        return Path(hf_hub_download(repository, "README.md", revision=revision)).read_text(encoding="utf-8")
    except _failures() as error:
        raise UserError(_sentence(error, repository, reaching="")) from error


def check_target(name: str, revision: str | None = None, create_pr: bool = False) -> None:
    """See that a folder can be put there: `name` can be a repository's, and a proposal is for its main branch.

    Raises:
        UserError: with the form that is expected.
    """
    if create_pr and revision is not None:
        raise UserError("the Hub takes proposals only for the main branch: leave out the revision, or the proposal.")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
        fits = name.count("/") == 1
    except HFValidationError:
        fits = False
    if not fits:
        raise UserError(f"{name!r} cannot name a repository of the Hub: expected user/name, of letters, digits, . _ -")


def has_token() -> bool:
    """Whether someone is logged in to the Hub here."""
    from huggingface_hub import get_token

    return get_token() is not None


def _failures() -> tuple[type[Exception], ...]:
    """What the client raises when the Hub or the way to it fails."""
    # HTTPError is that of the library which the client speaks HTTP through, whichever it is. What goes wrong with a
    # large file comes wrapped in a RuntimeError, and a card that the Hub refuses in a ValueError.
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    return (HfHubHTTPError, HTTPError, OSError, RuntimeError, ValueError)


def _sentence(error: BaseException, name: str, reaching: str = OFFLINE) -> str:
    """What went wrong and what to do, without a word of the client's, which may quote addresses and headers.

    Args:
        reaching: what can be done without the Hub.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
    )

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None and isinstance(error.__cause__, (HTTPError, OSError)):
        # The status, or what broke the connection, is in the cause of what the client says to this.
        return _sentence(error.__cause__, name, reaching)
    if isinstance(error, GatedRepoError):
        return f"{name} is gated: ask for access on its page on the Hub, then `hf auth login`."
    if isinstance(error, LocalTokenNotFoundError):
        return "nobody is logged in to the Hub here: run `hf auth login`, or set HF_TOKEN."
    if isinstance(error, (RepositoryNotFoundError, HFValidationError)) or status == 404:
        return (
            f"{name} is neither a folder here nor a model on the Hub: check its spelling, or that you have access "
            "(`hf auth login`)."
        )
    if status is not None:
        return _status(status, name)
    if isinstance(error, OSError) and "onsistency" in str(error):
        return f"what the Hub sent of {name} is incomplete: try again."
    return _unreached(name, reaching)


def _status(status: int, name: str) -> str:
    known = {
        401: f"the Hub does not accept your token for {name}: run `hf auth login` with one that is valid.",
        403: f"your token may not do this with {name}: it needs write access there (`hf auth login`).",
        409: f"{name} is being changed by someone else at the same moment: try again.",
        412: f"{name} is being changed by someone else at the same moment: try again.",
        429: "the Hub asks for patience, too many requests came from here: try again in a few minutes.",
    }
    other = f"the Hub refused what was asked of it for {name} (status {status})."
    trouble = f"the Hub has trouble of its own (status {status}): try again later."
    return known.get(status, other if status < 500 else trouble)


def _unreached(name: str, reaching: str = OFFLINE) -> str:
    return f"the Hub could not be reached for the model {name}. {reaching}".rstrip()
