"""What the Hub's client raises, in sentences that quote nothing of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)

from nfft.errors import UserError
from nfft.files import UNWRITABLE


class Refused(UserError):
    """The Hub has answered that it did not do what was asked of it, or was not asked at all."""


@contextmanager
def in_words(name: str, reaching: str = "") -> Iterator[None]:
    """Turn what the Hub's client raises inside into a sentence; only its calls belong there.

    The client takes answers apart as they come: one that is cut, or of another shape, may end in any exception.

    Args:
        name: of the repository.
        reaching: what can be done without the Hub, as a sentence; "" for nothing.

    Raises:
        UserError: which is Refused where nothing can have changed on the Hub.
    """
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            raise
        status = _status_of(error)
        is_refused = isinstance(error, LocalTokenNotFoundError) or (status is not None and 400 <= status < 500)
        raise (Refused if is_refused else UserError)(sentence_of(error, name, reaching)) from error


def sentence_of(error: BaseException, name: str, reaching: str) -> str:
    """What went wrong and what to do, without a word of the client's, which may quote addresses and headers.

    Args:
        reaching: what can be done without the Hub, as a sentence; "" for nothing.
    """
    status = _status_of(error)
    if status is None and isinstance(error.__cause__, (HTTPError, OSError)):
        # The status, or what broke the connection, is in the cause of what the client says to this.
        return sentence_of(error.__cause__, name, reaching)
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
    if isinstance(error, (HTTPError, OSError)) or type(error) is RuntimeError:
        return unreached(name, reaching)
    return (
        f"what the Hub answered for {name} is nothing that its client understands: try again later, or upgrade that "
        "with pip install -U huggingface_hub."
    )


def is_silence(error: BaseException) -> bool:
    """Whether the Hub has kept a connection and said nothing on it for too long."""
    # Of which library it is depends on the client's version; each calls them ConnectTimeout, ReadTimeout ...
    return "Timeout" in type(error).__name__


def _status_of(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


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


def unreached(name: str, reaching: str) -> str:
    return f"the Hub could not be reached for the model {name}. {reaching}".rstrip()
