"""What the card of a data set may name as its files: those of its own repository, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.repocard import REGEX_YAML_BLOCK

from nfft.errors import UserError
from nfft.text import shorten

# Where `datasets` reads which files a configuration has; the second is taken over the first.
CARD, STANDALONE = "README.md", ".huggingface.yaml"
PLACES = ("data_files", "data_dir")
# An address, a chain of file systems, the whole path of a file, the home folder, or a way up.
OUTSIDE = re.compile(r"://|::|^[/\\~]|^[A-Za-z]:|(?:^|[/\\])\.\.(?:[/\\]|$)")


def check_card(source: str) -> None:
    """See that the configurations of a data set name files of its repository, before `datasets` opens these.

    A card may name addresses that would be fetched, or files of this machine. What the Hub fails to send is left to
    `datasets`, which asks for the same.

    Args:
        source: a folder that is laid out as on the Hub, or the id of a data set there.

    Raises:
        UserError: naming the first file that is not.
    """
    for configuration in _configurations(source):
        for place in PLACES:
            for name in _texts(configuration.get(place)):
                if OUTSIDE.search(name):
                    raise UserError(
                        f"the card of the data set {source} names {shorten(name, 80)!r} among its files, which lies "
                        "outside its repository. Fetch what you trust yourself, and give --task the folder."
                    )


def _configurations(source: str) -> Iterator[dict[str, Any]]:
    entries: dict[str, Any] = {}
    for name in (CARD, STANDALONE):
        file = _file(source, name)
        if file is None:
            continue
        try:
            text = file.read_text(encoding="utf-8")
            head = REGEX_YAML_BLOCK.search(text)
            # As `datasets` reads them; what it refuses it says itself.
            stored = yaml.safe_load(text if name == STANDALONE else head[2] if head else "")
        except (ValueError, RecursionError, yaml.YAMLError):
            return
        entries |= stored if isinstance(stored, dict) else {}
    listed = entries.get("configs")
    yield from (entry for entry in (listed if isinstance(listed, list) else []) if isinstance(entry, dict))


def _file(source: str, name: str) -> Path | None:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    try:
        return Path(HfApi(library_name="nfft").hf_hub_download(source, name, repo_type="dataset"))
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled):
        return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _texts(entry)
