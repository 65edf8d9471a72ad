"""What the Hub's client raises, in sentences that quote nothing of it."""

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    RepositoryNotFoundError,
)

# What the client raises when the Hub or the way to it fails. HTTPError is that of the library which the client speaks
# HTTP through, whichever it is. What goes wrong with a large file comes wrapped in a RuntimeError, and a card that the
# Hub refuses in a ValueError.
FAILURES = (HfHubHTTPError, HTTPError, OSError, RuntimeError, ValueError)


def sentence_of(error: BaseException, name: str, reaching: str) -> str:
    """What went wrong and what to do, without a word of the client's, which may quote addresses and headers.

    Args:
        reaching: what can be done without the Hub, as a sentence; "" for nothing.
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
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
    return unreached(name, reaching)


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
