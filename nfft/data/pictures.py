"""Which pictures a run is trained on: a fingerprint that a copy of them has too, and other pictures have not."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from nfft.data.decode import RawImage
from nfft.data.splits import Split
from nfft.files import part_of

# So many pictures are read, and more of small ones until so many bytes are: a run's start is not to read all of
# ImageNet. They share so many hashes.
SAMPLE, SAMPLE_BYTES = 64, 32 << 20
# Of a large picture, so many bytes from its start and from its end.
ENDS = 512 << 10
# The last word of a seed says what it is for, as in the loader.
PICTURES = 6
DIGITS = 16
NAMED = 3


@dataclass(frozen=True)
class Pictures:
    """A fingerprint of the pictures of all splits, which says nothing of where they lie, or since when.

    Attributes:
        names: hash of their names and order, below the folder of all; of their rows, where they are no files.
        sizes: hash of the sizes of files; None where they are none.
        sample: hashes of some of them, which the seed has drawn; of more than SAMPLE, each is of several.
        content: hash of all of them; None where that was not asked for.
    """

    names: str
    sizes: str | None
    sample: tuple[str, ...]
    content: str | None


def look_at_pictures(splits: Sequence[Split], seed: int, *, whole: bool) -> Pictures:
    """The fingerprint of the pictures of `splits`.

    Args:
        seed: draws the sample.
        whole: read all pictures.
    """
    names, sizes, are_files = hashlib.sha256(), hashlib.sha256(), False
    for split in splits:
        names.update(f"{split.name} {len(split)}\n".encode())
        # Where pictures lie in a table, they cannot be had without reading it.
        if len(split) and isinstance(split[0], str):
            are_files = True
            paths = [str(split.images[row]) for row in split.rows.tolist()]
            names.update("\n".join(_below(paths)).encode())
            sizes.update(split.statuses()[:, 0].tobytes())
        else:
            names.update(split.rows.tobytes())
    content = hashlib.sha256()
    for split in splits if whole else []:
        for index in range(len(split)):
            content.update(_content_of(split[index], whole=True)[0])
    return Pictures(
        names=names.hexdigest(),
        sizes=sizes.hexdigest() if are_files else None,
        sample=_shared_hashes([digest for *_, digest in _sample(splits, seed)]),
        content=content.hexdigest() if whole else None,
    )


def changed_pictures(splits: Sequence[Split], seed: int, before: Pictures, now: Pictures) -> str | None:
    """What of the pictures of `splits`, as they are now, differs from `before`, in words; None where nothing does."""
    if before.names != now.names:
        return "they have other names, or another order"
    if before.sizes != now.sizes:
        return "their files have other sizes"
    pairs = zip(before.sample, now.sample, strict=False)
    others = [number for number, (one, two) in enumerate(pairs) if one != two]
    if others:
        places = [split.where(index) for split, index, _ in _sample(splits, seed)]
        suspects = [where for number in others for where in places[number::SAMPLE]]
        listed = ", ".join(suspects[:NAMED]) + (", ..." if len(suspects) > NAMED else "")
        least = f"at least {len(others)}" if len(suspects) > len(others) else f"{len(others)}"
        return f"{least} of {len(places)} that were compared have other content ({listed})"
    if None not in (before.content, now.content) and before.content != now.content:
        return "some of them have other content, which are not among the few that are always compared"
    return None


def _shared_hashes(digests: list[bytes]) -> tuple[str, ...]:
    """Up to SAMPLE hashes of all `digests`, each of every SAMPLE-th."""
    groups = (digests[number::SAMPLE] for number in range(min(SAMPLE, len(digests))))
    return tuple(hashlib.sha256(b"".join(group)).hexdigest()[:DIGITS] for group in groups)


def _sample(splits: Sequence[Split], seed: int) -> Iterator[tuple[Split, int, bytes]]:
    """Some pictures, each as its split and its index there, and their hashes."""
    ends = np.cumsum([len(split) for split in splits])
    numbers = np.random.default_rng((seed, PICTURES)).permutation(ends[-1])
    whose = np.searchsorted(ends, numbers, side="right")
    starts = ends - [len(split) for split in splits]
    read = 0
    for count, (number, which) in enumerate(zip(numbers.tolist(), whose.tolist(), strict=True)):
        if count >= SAMPLE and read >= SAMPLE_BYTES:
            return
        split, index = splits[which], number - int(starts[which])
        digest, size = _content_of(split[index], whole=False)
        read += size
        yield split, index, digest


def _content_of(raw: RawImage, *, whole: bool) -> tuple[bytes, int]:
    """SHA-256 of a picture, or of the ends of a large one, and how many bytes that are; of nothing where it is gone."""
    if isinstance(raw, str):
        try:
            content = Path(raw).read_bytes() if whole else part_of(raw, ENDS)
            if len(content) == ENDS and not whole:
                content += part_of(raw, ENDS, max(ENDS, os.stat(raw).st_size - ENDS))  # noqa: PTH116
        except OSError:
            content = b""
    elif isinstance(raw, bytes):
        content = raw
    else:
        pixels = np.ascontiguousarray(raw.convert("RGB") if isinstance(raw, Image.Image) else raw)
        content = f"{pixels.shape}".encode() + pixels.tobytes()
    return hashlib.sha256(content).digest(), len(content)


def _below(paths: list[str]) -> list[str]:
    """Paths without what all of them begin with."""
    common = os.path.commonpath([min(paths), max(paths)]) if len(paths) > 1 else os.path.dirname(paths[0])  # noqa: PTH120
    return [path[len(common) :].lstrip(os.sep) for path in paths]
