"""What mkdocs runs at each build: it fills in what follows from the code, and takes in pages of the repository.

Pages that lie elsewhere, such as LOG.md, are found on the site under the path that they have in the repository, so that
links among them hold. A link that leads to a file which is no page, such as a study's, becomes the name of the file.
"""

import posixpath
import re
from itertools import cycle
from pathlib import Path

import from_code
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[1]
TAKEN_IN = (
    "LOG.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/RESULTS.md",
    "cards/results.md",
    "cards/results/*/README.md",
    "cards/results/*/study.png",
    "cards/digits-nfnet-nano/README.md",
    "cards/digits-nfnet-nano/*.png",
    "nfft/pretrained/nfnet-nano/README.md",
)
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]*)(?P<anchor>#[^)\s]*)?\)")
FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take in the repository's own pages and their pictures."""
    for pattern in TAKEN_IN:
        for path in sorted(REPOSITORY.glob(pattern)):
            files.append(File.generated(config, path.relative_to(REPOSITORY).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what follows from the code, and have links lead to pages of the site."""
    is_taken_in = page.file.generated_by is not None
    if not is_taken_in:
        markdown = from_code.filled(markdown)
    in_repository = page.file.src_uri if is_taken_in else f"docs/{page.file.src_uri}"

    def relinked(link: re.Match[str]) -> str:
        return linked(link, posixpath.dirname(in_repository), posixpath.dirname(page.file.src_uri), files)

    # What is fenced is code, and every second part of these.
    parts = FENCED.split(markdown)
    return "".join(part if is_code else LINK.sub(relinked, part) for part, is_code in zip(parts, cycle([False, True])))


def linked(link: re.Match[str], folder: str, place: str, files: Files) -> str:
    """A link of a page in `folder` of the repository, which is in `place` on the site: to another page, or a name."""
    text, target = link["text"], link["target"]
    if not target or re.match(r"[a-z]+:", target):
        return link[0]
    path = posixpath.normpath(posixpath.join(folder, target))
    page = path.removeprefix("docs/")
    if files.get_file_from_path(page) is not None:
        return f"[{text}]({posixpath.relpath(page, place or '.')}{link['anchor'] or ''})"
    if not (REPOSITORY / path).exists():
        return link[0]
    return f"`{path}`" if posixpath.basename(path) in text else f"{text} (`{path}`)"
