"""Uploads files to a repository of the Hub."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token, hf_hub_download
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id

from nfft.errors import UserError
from nfft.hub.errors import in_words

# Open proposals that are looked at for one of ours, each a few requests.
LOOKED_AT = 50


@dataclass(frozen=True)
class Proposal:
    """What the Hub calls a pull request.

    Attributes:
        revision: by which its commits are asked for.
        address: of its page.
    """

    revision: str
    address: str


def push_files(
    files: Mapping[str, Path | bytes],
    repository: str,
    *,
    replaced: Sequence[str],
    private: bool | None,
    revision: str | None,
    create_pr: bool,
    message: str,
    token: str | bool | None = None,
    keep: Sequence[str] = (),
    proposal: Proposal | None = None,
) -> str:
    """Put `files` into a repository as one commit; what has not changed is not sent.

    Args:
        files: the file or the content of each path in the repository.
        repository: "user/name"; created where there is none.
        replaced: names of those that are deleted in the repository where they are none of `files`.
        private: whether a new repository is; the account's default when absent.
        revision: a branch, created where there is none; the main one when absent.
        create_pr: propose the commit instead.
        keep: files that are left alone where the repository has them.
        proposal: one that is there already, which takes the commit.

    Returns:
        The address of the commit, or of the proposal.

    Raises:
        UserError: when the Hub cannot be reached or refuses.
    """
    check_repository(repository, revision, create_pr)
    # "No files have been modified" is no warning, and bars are for those who wait for gigabytes on a terminal.
    logging.getLogger("huggingface_hub.hf_api").setLevel(logging.ERROR)
    disable_progress_bars()
    api = HfApi(token=token, library_name="nfft")
    with in_words(repository):
        if not create_pr or not api.repo_exists(repository):
            api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        revision = proposal.revision if proposal else revision
        present = set(api.list_repo_files(repository, revision=revision))
        added = {path: content for path, content in files.items() if path not in {*keep} & present}
        # A network that was there before under other names would be loaded with this one's config.json.
        gone = [path for path in replaced if path in present - files.keys()]
        commit = api.create_commit(
            repository,
            [
                *(CommitOperationDelete(path, is_folder=False) for path in gone),
                *(CommitOperationAdd(path, content) for path, content in sorted(added.items())),
            ],
            commit_message=message,
            revision=revision,
            create_pr=create_pr and proposal is None,
        )
        return proposal.address if proposal else str(commit.pr_url or commit.commit_url)


def find_proposal(repository: str, is_ours: Callable[[str], bool]) -> Proposal | None:
    """The first open proposal to a repository whose card is ours; LOOKED_AT of them are asked for theirs.

    Args:
        is_ours: whether a card is.

    Raises:
        UserError: when the Hub cannot be reached or refuses.
    """
    with in_words(repository):
        api = HfApi(library_name="nfft")
        if not api.repo_exists(repository):
            return None
        listed = api.get_repo_discussions(repository, discussion_type="pull_request", discussion_status="open")
        found = [Proposal(str(each.git_reference), each.url) for each in islice(listed, LOOKED_AT)]
    for proposal in found:
        card = card_on_hub(repository, proposal.revision)
        if card is not None and is_ours(card):
            return proposal
    return None


def card_on_hub(repository: str, revision: str | None) -> str | None:
    """The README.md that a repository has, if it is there and has one.

    Raises:
        UserError: when the Hub cannot be reached or refuses.
    """
    with in_words(repository):
        api = HfApi(library_name="nfft")
        if not api.repo_exists(repository) or not api.file_exists(repository, "README.md", revision=revision):
            return None
        # One that is no UTF-8 is not of a run's, whatever it says.
        return Path(hf_hub_download(repository, "README.md", revision=revision)).read_text("utf-8", errors="replace")


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
