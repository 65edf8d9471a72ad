"""Scans images before training: their sizes, and whether they can be read at all."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from nfft.data.decode import UnreadableImage, examine, readers
from nfft.data.decode_cache import Store, storing
from nfft.data.rendering import KINDS, Rendering, Seen, is_fraction, range_of_all
from nfft.data.splits import Split
from nfft.data.threads import map_in_threads
from nfft.files import cache_folder, remove_unfinished, write_text
from nfft.text import shorten

# Of a larger split, so many are scanned, evenly spread: a run's start is not to read all of ImageNet.
MOST_SCANNED = 4096
# Images by which the size of all is estimated.
SIZE_SAMPLE = 32
# Of 255: pictures without a value as bright are mentioned, and so many are named.
DIM, NAMED = 32, 3


@dataclass(frozen=True)
class BrokenImage:
    """An image that cannot be read: its index in the split, and why."""

    index: int
    reason: str


@dataclass(frozen=True)
class Scan:
    """Sizes of a split's images, and which are broken.

    Attributes:
        indices: of the images that were scanned, (n,), ascending.
        sizes: their widths and heights in px, (n, 2), 0 where broken.
        broken: those that cannot be read.
        seen: what the readable ones hold, by index; of files alone.
    """

    indices: np.ndarray
    sizes: np.ndarray
    broken: list[BrokenImage]
    seen: dict[int, Seen] = field(default_factory=dict)


def scan_split(split: Split, *, keeps: bool = False) -> Scan:
    """Decode images of `split`, at most MOST_SCANNED, in parallel; the outcome is cached until the data changes.

    Args:
        keeps: of a split that is scanned whole, keep the images decoded, in decode_cache's file.
    """
    count = min(len(split), MOST_SCANNED)
    indices = np.arange(count) * len(split) // max(1, count)
    if split.fingerprint is None:
        shapes = [np.asarray(split[index]).shape[1::-1] for index in indices.tolist()]
        return Scan(indices, np.array(shapes, np.int64).reshape(-1, 2), [])
    reading = f"{readers()} 3 {split.rendering}".encode()
    rows = split.rows[indices].tobytes() + indices.tobytes()
    key = hashlib.sha256(split.fingerprint.encode() + rows + reading).hexdigest()
    cached = cache_folder("scans") / f"{key}.json"
    if (scan := _read_cache(cached, indices)) is not None:
        return scan
    with storing(split, _estimate_pixels(split)) if keeps and count == len(split) else nullcontext() as store:
        outcomes = map_in_threads(
            lambda index: _look_at(split, index, store), indices.tolist(), f"reading the {split.name} images"
        )
    by_index = dict(zip(indices.tolist(), outcomes, strict=True))
    seen = {index: outcome for index, outcome in by_index.items() if isinstance(outcome, Seen)}
    errors = {index: outcome for index, outcome in by_index.items() if isinstance(outcome, UnreadableImage)}
    broken = [BrokenImage(index, str(error)) for index, error in errors.items()]
    scan = _scan(indices, broken, seen)
    if not any(_may_pass(error) for error in errors.values()):
        _write_cache(cached, scan)
    return scan


def _scan(indices: np.ndarray, broken: list[BrokenImage], seen: dict[int, Seen]) -> Scan:
    sizes = [seen[index][:2] if index in seen else (0, 0) for index in indices.tolist()]
    return Scan(indices, np.array(sizes, np.int64).reshape(-1, 2), broken, seen)


def rendering_for(rendering: Rendering, scan: Scan) -> Rendering:
    """How all pictures are shown, by those that were looked at: deep ones by their range together."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        deep = [seen for seen in scan.seen.values() if seen.kind == kind]
        if deep:
            found[kind] = range_of_all(kind, min(seen.low for seen in deep), max(seen.high for seen in deep))
    return replace(rendering, **found)


def notes_on(scans: Sequence[tuple[Split, Scan]], rendering: Rendering) -> tuple[str, ...]:
    """Lines about pictures that show little, or whose range was found, and how to set it.

    Args:
        rendering: as `rendering_for` has it.
    """
    seen = [(split.where(index), seen) for split, scan in scans for index, seen in scan.seen.items()]
    notes = [line for kind in KINDS if (line := _on_range(kind, [one for _, one in seen], rendering))]
    if flat := [where for where, one in seen if one.is_flat]:
        notes.append(
            f"{_some(flat, len(seen))} of one color: where they hold more, --set task.background=black, or none, "
            "shows what lies on transparency, and task.white=... what is dark"
        )
    dim = {where: one.high for where, one in seen if not one.kind and not one.is_flat and one.high < DIM}
    if dim and rendering.white is None:
        brightest = max(dim.values())
        notes.append(
            f"{_some(list(dim), len(seen))} dark, at most {brightest:g} of 255: "
            f"--set task.white={brightest:g} shows that as white"
        )
    if more := [where for where, one in seen if one.has_more]:
        verb = "has" if len(more) == 1 else "have"
        notes.append(f"{_of_all(more, len(seen))} {verb} further pages or frames: the first is what is seen of each")
    return tuple(notes)


def _on_range(kind: str, seen: Sequence[Seen], rendering: Rendering) -> str | None:
    ends, deep = getattr(rendering, kind), [one for one in seen if one.kind == kind]
    if ends is None or not deep or (rendering.black, rendering.white) != (None, None):
        return None
    line = (
        f"{len(deep):,} of {len(seen):,} pictures looked at are of {kind} of more than 8 bits: "
        f"{ends[0]:g} is shown as black, {ends[1]:g} as white; --set task.black=... and task.white=... change that"
    )
    faint = sum(is_fraction(one.low, one.high, ends) for one in deep)
    if 2 * faint <= len(deep):
        return line
    return (
        f"{line}. {faint:,} fill less than a sixteenth of it, half of all end at {np.median([o.high for o in deep]):g}"
    )


def _some(names: Sequence[str], count: int) -> str:
    return f"{_of_all(names, count)} {'is' if len(names) == 1 else 'are'}"


def _of_all(names: Sequence[str], count: int) -> str:
    listed = ", ".join(shorten(name, 60) for name in names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return f"{len(names):,} of {count:,} pictures looked at ({listed})"


def _estimate_pixels(split: Split) -> int:
    """Pixels of all images together, by those of a few, evenly spread."""
    indices = range(0, len(split), max(1, len(split) // SIZE_SAMPLE))
    outcomes = [_look_at(split, index, None) for index in indices]
    pixels = [outcome.width * outcome.height for outcome in outcomes if isinstance(outcome, Seen)]
    return round(float(np.mean(pixels)) * len(split)) if pixels else 0


def _look_at(split: Split, index: int, store: Store | None) -> Seen | UnreadableImage:
    """What an image holds, or why it cannot be read; its pixels go into `store`."""
    try:
        image, seen = examine(split[index], split.rendering)
    except UnreadableImage as error:
        return error
    if store is not None:
        if seen.kind:
            store.give_up()  # the range of such images is that of all of them
        else:
            store.add(index, np.asarray(image))
    return seen


def _may_pass(error: UnreadableImage) -> bool:
    """Whether the system could not read the file, as for want of a right: that passes, and the file looks the same."""
    cause = error.__cause__
    return isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno is not None)


@dataclass(frozen=True)
class _Known:
    """What the file of an earlier scan holds."""

    broken: list[BrokenImage]
    seen: dict[int, Seen]


def _read_cache(path: Path, indices: np.ndarray) -> Scan | None:
    """An earlier scan; None where there is none, or it cannot be read."""
    try:
        known = msgspec.json.decode(path.read_bytes(), type=_Known)
        return _scan(indices, known.broken, known.seen)
    except (OSError, msgspec.MsgspecError, OverflowError, RecursionError):
        return None


def _write_cache(path: Path, scan: Scan) -> None:
    broken = [{"index": image.index, "reason": image.reason} for image in scan.broken]
    seen = {index: entry[:2] if entry == Seen(*entry[:2]) else entry for index, entry in scan.seen.items()}
    # A cache that cannot be written costs time in the next run, and nothing in this one.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(path.parent, lambda name: name.endswith(path.suffix))
        write_text(path, json.dumps({"broken": broken, "seen": seen}))
