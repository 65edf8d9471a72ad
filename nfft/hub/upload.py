"""Uploads a folder to a repository of the Hub."""

import logging
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, get_token, hf_hub_download
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id

from nfft.errors import UserError
from nfft.hub.errors import FAILURES, sentence_of


def push_folder(
    folder: Path,
    repository: str,
    *,
    files: Sequence[str],
    replaced: Sequence[str],
    private: bool | None,
    revision: str | None,
    create_pr: bool,
    message: str,
    token: str | bool | None = None,
    keep: Sequence[str] = (),
) -> str:
    """Put `files` of `folder` into a repository as one commit; what has not changed is not sent.

    Args:
        repository: "user/name"; created where there is none.
        files: names and patterns of what is shared.
        replaced: names of those that are deleted in the repository where the folder has none.
        private: whether a new repository is; the account's default when absent.
        revision: a branch, created where there is none; the main one when absent.
        create_pr: propose the commit instead.
        keep: files that are left alone where the repository has them.

    Returns:
        The address of the commit, or of the proposal.

    Raises:
        UserError: when the Hub cannot be reached or refuses; the folder stays as it is.
    """
    check_repository(repository, revision, create_pr)
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
            allow_patterns=[file for file in files if not (file in keep and file in present)],
            # A network that was there before under other names would be loaded with this one's config.json.
            delete_patterns=[file for file in replaced if not (folder / file).is_file()],
            commit_message=message,
            revision=revision,
            create_pr=create_pr,
        )
    except FAILURES as error:
        raise UserError(sentence_of(error, repository, reaching="")) from error
    return commit.pr_url or commit.commit_url


def card_on_hub(repository: str, revision: str | None) -> str | None:
    """The README.md that a repository has, if it is there and has one.

    Raises:
        UserError: when the Hub cannot be reached or refuses.
    """
    try:
        api = HfApi(library_name="nfft")
        if not api.repo_exists(repository) or not api.file_exists(repository, "README.md", revision=revision):
            return None
        return Path(hf_hub_download(repository, "README.md", revision=revision)).read_text(encoding="utf-8")
    except FAILURES as error:
        raise UserError(sentence_of(error, repository, reaching="")) from error


def check_repository(name: str, revision: str | None = None, create_pr: bool = False) -> None:
    """See that a folder can be put there: `name` can be a repository's, and a proposal is for its main branch.

    Raises:
        UserError: with the form that is expected.
    """
    if create_pr and revision is not None:
        raise UserError("the Hub takes proposals only for the main branch: leave out the revision, or the proposal.")
    try:
        validate_repo_id(name)
        fits = name.count("/") == 1
    except HFValidationError:
        fits = False
    if not fits:
        raise UserError(f"{name!r} cannot name a repository of the Hub: expected user/name, of letters, digits, . _ -")


def has_token() -> bool:
    """Whether someone is logged in to the Hub here."""
    return get_token() is not None
