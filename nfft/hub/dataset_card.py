"""What the card of a data set may name as its files: those of its own repository, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import constants, get_session, hf_hub_url
from huggingface_hub.errors import HFValidationError, HTTPError
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.utils import build_hf_headers

from nfft.errors import UserError
from nfft.hub.errors import is_silence
from nfft.text import shorten

# Where `datasets` reads which files a configuration has; the second is taken over the first.
CARD, STANDALONE = "README.md", ".huggingface.yaml"
# The one in C takes a tenth of the time, where there is one.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PLACES = ("data_files", "data_dir")
# An address, a chain of file systems, the whole path of a file, the home folder, or a way up.
OUTSIDE = re.compile(r"://|::|^[/\\~]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)")


class _Silence(Exception):
    """The Hub keeps a connection and says nothing on it."""


def check_card(source: str) -> bool:
    """See that the configurations of a data set name files of its repository, before `datasets` opens these.

    A card may name addresses that would be fetched, or files of this machine. What the Hub fails to send is left to
    `datasets`, which asks for the same.

    Args:
        source: a folder that is laid out as on the Hub, or the id of a data set there.

    Returns:
        False where the Hub does not answer in time: then nothing is known of what it would send later.

    Raises:
        UserError: naming the first file that is not.
    """
    try:
        configurations = [*_configurations(source)]
    except _Silence:
        return False
    for configuration in configurations:
        for place in PLACES:
            for name in _texts(configuration.get(place)):
                if OUTSIDE.search(name):
                    raise UserError(
                        f"the card of the data set {source} names {shorten(name, 80)!r} among its files, which lies "
                        "outside its repository. Fetch what you trust yourself, and give --task the folder."
                    )
    return True


def _configurations(source: str) -> Iterator[dict[str, Any]]:
    entries: dict[str, Any] = {}
    for name in (CARD, STANDALONE):
        try:
            text = _text(source, name)
            head = REGEX_YAML_BLOCK.search(text)
            # As `datasets` reads them; what it refuses it says itself.
            stored = yaml.load(text if name == STANDALONE else head[2] if head else "", LOADER)
        except (ValueError, RecursionError, yaml.YAMLError):
            return
        entries |= stored if isinstance(stored, dict) else {}
    listed = entries.get("configs")
    yield from (entry for entry in (listed if isinstance(listed, list) else []) if isinstance(entry, dict))


def _text(source: str, name: str) -> str:
    """What is in a file of the data set; nothing where it has none, or the Hub is out of reach.

    Raises:
        _Silence: when the Hub does not answer in time.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return (folder / name).read_text(encoding="utf-8") if (folder / name).is_file() else ""
    if constants.HF_HUB_OFFLINE:
        return ""
    try:
        # Asked once: `datasets` has more patience, and asks for the same.
        answer = get_session().get(
            hf_hub_url(source, name, repo_type="dataset"),
            headers=build_hf_headers(),
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        )
    # OSError: of clients before 1.0, which speak through requests.
    except (HTTPError, OSError, HFValidationError) as error:
        if is_silence(error):
            raise _Silence from error
        return ""
    return str(answer.content, "utf-8") if answer.status_code == 200 else ""


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _texts(entry)
