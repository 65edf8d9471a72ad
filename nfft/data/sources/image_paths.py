"""From what a table says of its images to the files that they are."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nfft.config.task import Task
from nfft.data.sources.listing import picture_endings
from nfft.errors import UserError
from nfft.files import expanded
from nfft.text import shorten

# Rows that are looked at, evenly spread, to see whether paths are right as they stand.
LOOKED_AT = 64
# As long as any path may be.
LONGEST_PATH = 4096
# How bytes of pictures begin once they are written as text.
BASE64 = ("data:image", "iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
MOST_FOLDERS = 200


@dataclass(frozen=True)
class Rule:
    """How files are found from cells: which folder they lie in, which of a path's first parts to drop, what to add."""

    folder: str
    dropped: int = 0
    ending: str = ""

    def path(self, cell: str) -> str:
        parts = cell.split("/")
        kept = "/".join(parts[min(self.dropped, len(parts) - 1) :]) if self.dropped else cell
        return os.path.join(self.folder, kept + self.ending)  # noqa: PTH118


def image_paths(
    task: Task, cells: Sequence[str | None], column: str, roots: Sequence[Path]
) -> tuple[list[str], list[str]]:
    """The path of each image, and notes of how they were found; "" for an empty cell.

    Args:
        cells: of the column of images.
        column: its name.
        roots: folders that paths may be relative to, the likeliest first: beside the table, say.

    Raises:
        UserError: when the cells are no paths, or more than one folder has the images.
    """
    texts = [cell or "" for cell in cells]
    _check_cells(task, texts, column)
    if task.images is not None:
        folder = expanded(task.images)
        if not folder.is_dir():
            raise UserError(f"--set task.images={shorten(task.images, 200)}: there is no such folder.")
        roots = [folder.absolute()]
    folders = [str(root) for root in dict.fromkeys(roots)]
    whole = [os.path.join(folders[0], text + _lacking(text, task.ending)) if text else "" for text in texts]  # noqa: PTH118
    sample = [row for row in _spread(len(texts)) if texts[row]]
    is_right = all(os.path.isfile(whole[row]) for row in sample)  # noqa: PTH113
    if is_right and len(folders) == 1 and not any("\\" in text for text in texts):
        return whole, []
    missing = [row for row, path in enumerate(whole) if path and not os.path.exists(path)]  # noqa: PTH110
    if not missing:
        return whole, []
    wanted = [texts[row].replace("\\", "/") + _lacking(texts[row], task.ending) for row in missing]
    rule = _rule(task, [wanted[place] for place in _spread(len(wanted))], folders)
    # Two images are not to become one.
    if rule is None or len({rule.path(cell) for cell in wanted}) < len(set(wanted)):
        return whole, []
    found = 0
    for row, cell in zip(missing, wanted, strict=True):
        if os.path.exists(path := rule.path(cell)):  # noqa: PTH110
            whole[row] = path
            found += 1
    return whole, _notes(rule, found, [texts[row] for row in missing], column, folders)


def beside(path: Path) -> list[Path]:
    """The folder that a table lies in, and that of the file it is a link to."""
    if path.is_symlink():
        return [path.parent.absolute(), path.resolve().parent]
    return [path.resolve().parent]


def _check_cells(task: Task, texts: list[str], column: str) -> None:
    """See that they can be paths at all."""
    first = next(filter(None, texts), "")
    longest = max(map(len, texts), default=0)
    if longest > LONGEST_PATH or (len(first) > 100 and first.startswith(BASE64)):
        raise UserError(
            f"task {task.name}: column {column!r} holds texts of up to {longest:,} characters, no paths; pictures as "
            "text (base64) are not read. Decode them into files and give their paths, or put their bytes into Parquet."
        )
    if first.startswith(("http://", "https://", "s3://", "gs://")):
        raise UserError(
            f"task {task.name}: column {column!r} holds addresses ({shorten(first, 60)}), which nfft does not fetch. "
            "Fetch the images first, and give the paths of their files."
        )


def _rule(task: Task, cells: list[str], folders: list[str]) -> Rule | None:
    """The rule by which the cells are files; None where there is none.

    Raises:
        UserError: when images of these names are in several folders.
    """
    depth = min(cell.count("/") for cell in cells)
    for folder in folders:
        for dropped in range(depth + 1):
            if rule := _fitting(cells, folder, dropped, task.ending):
                return rule
    if task.images is not None:
        return None
    for root in folders:
        places_in = [(folder, dropped) for folder in _folders_in(root) for dropped in range(depth + 1)]
        rules = [rule for place in places_in if (rule := _fitting(cells, *place, task.ending))]
        places = list(dict.fromkeys(rule.folder for rule in rules))
        if len(places) > 1:
            shown = " and ".join(shorten(place, 100) for place in places[:2])
            raise UserError(
                f"task {task.name}: images of the names in the table are in {shown}. Say which: --set task.images=..."
            )
        if rules:
            return rules[0]
    return None


def _fitting(cells: list[str], folder: str, dropped: int, ending: str | None) -> Rule | None:
    """A rule of this folder that finds the cells, with an ending where they have none."""
    plain = Rule(folder, dropped)
    if _finds(plain, cells):
        return plain
    if ending is not None:
        return None
    lacking = dict.fromkeys(ending for cell in cells[:3] for ending in _endings_of(plain.path(cell)))
    return next((rule for each in lacking if _finds(rule := Rule(folder, dropped, each), cells)), None)


def _finds(rule: Rule, cells: list[str]) -> bool:
    """Whether all cells lead to a file, but for one in ten, which may be lost."""
    return sum(os.path.isfile(rule.path(cell)) for cell in cells) >= max(1, 0.9 * len(cells))  # noqa: PTH113


def _endings_of(path: str) -> list[str]:
    """What the names of pictures have after the whole of a path."""
    usual = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")
    known = [*usual, *sorted(picture_endings() - set(usual))]
    return [ending for each in known for ending in (each, each.upper()) if os.path.isfile(path + ending)]  # noqa: PTH113


def _folders_in(root: str) -> list[str]:
    """Folders right in one, by name."""
    try:
        with os.scandir(root) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return []
    return [os.path.join(root, name) for name in names[:MOST_FOLDERS]]  # noqa: PTH118


def _lacking(text: str, ending: str | None) -> str:
    """What a cell lacks of the ending that the task names."""
    if ending is None:
        return ""
    ending = ending if ending.startswith(".") else f".{ending}"
    return "" if text.lower().endswith(ending.lower()) else ending


def _spread(count: int) -> Iterable[int]:
    """Up to LOOKED_AT of so many, evenly spread."""
    return sorted({place * count // LOOKED_AT for place in range(LOOKED_AT)}) if count > LOOKED_AT else range(count)


def _notes(rule: Rule, found: int, cells: list[str], column: str, folders: list[str]) -> list[str]:
    """How images were found that are not where the table says."""
    if not found:
        return []
    said = []
    if rule.folder != folders[0]:
        said.append(f"in {shorten(rule.folder, 200)}")
    if rule.ending:
        said.append(f"with the ending {rule.ending}")
    if any("\\" in cell for cell in cells):
        said.append("with \\ as /")
    if rule.dropped:
        said.append(f"without the first {rule.dropped} part{'' if rule.dropped == 1 else 's'} of their paths")
    how = ", ".join(said)
    return [f"column {shorten(column, 60)}: {found:,} images are found {how}."] if how else []
