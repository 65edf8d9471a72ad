"""Pictures are known again where they were copied to, and changed ones are noticed."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import noise

from nfft.data.pictures import Pictures, changed_pictures, look_at_pictures
from nfft.data.splits import Split


def splits_of(images: list) -> list[Split]:
    rows = np.arange(len(images))
    split = Split("train", images, rows, np.zeros(len(images), np.int64), "one")
    return [split.keep(rows[:-2]), split.keep(rows[-2:], "validation")]


def folder_of(folder: Path, count: int = 12) -> Path:
    folder.mkdir()
    for number in range(count):
        noise(seed=number).save(folder / f"{number:03}.bmp")  # all of one size
    return folder


def look(folder: Path, whole: bool = False) -> Pictures:
    return look_at_pictures(of(folder), 0, whole=whole)


def of(folder: Path) -> list[Split]:
    return splits_of(sorted(map(str, folder.iterdir())))


def swap(folder: Path) -> None:
    one, two = folder / "001.bmp", folder / "002.bmp"
    contents = one.read_bytes(), two.read_bytes()
    for file, content in zip((two, one), contents, strict=True):
        file.write_bytes(content)


def replace_one(folder: Path) -> None:
    times = (folder / "003.bmp").stat()
    noise(seed=99).save(folder / "003.bmp")
    os.utime(folder / "003.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES = {
    "swapped": (swap, r"2 of 12 that were compared have other content \(.*00[12]\.bmp, .*00[12]\.bmp\)"),
    "replaced": (replace_one, r"1 of 12 that were compared have other content \(.*003\.bmp\)"),
    "renamed": (lambda folder: (folder / "000.bmp").rename(folder / "0000.bmp"), "other names"),
    "grown": (lambda folder: noise(99).resize((99, 99)).save(folder / "000.bmp"), "other sizes"),
}


@pytest.mark.parametrize("change, said", CHANGES.values(), ids=CHANGES)
def test_what_has_changed_is_said(tmp_path: Path, change, said: str) -> None:
    folder = folder_of(tmp_path / "photos")
    before = look(folder)
    change(folder)
    found = changed_pictures(of(folder), 0, before, look(folder))
    assert found is not None
    assert re.search(said, found)


def test_a_copy_elsewhere_is_the_same(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos")
    before = look(folder, whole=True)
    copied = shutil.copytree(folder, tmp_path / "deep" / "er", copy_function=shutil.copyfile)
    assert look(copied, whole=True) == before
    assert changed_pictures(of(copied), 0, before, before) is None


def test_of_many_pictures_some_are_read_and_all_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nfft.data.pictures.SAMPLE_BYTES", 1)
    folder = folder_of(tmp_path / "photos", 200)
    some, every = look(folder), look(folder, whole=True)
    assert (len(some.sample), some.content) == (64, None)
    # One that the sample does not have.
    for number in range(200):
        noise(seed=999).save(folder / f"{number:03}.bmp")
        if look(folder) == some:
            break
        noise(seed=number).save(folder / f"{number:03}.bmp")
    found = changed_pictures(of(folder), 0, every, look(folder, whole=True))
    assert found is not None and "not among the few that are always compared" in found


def test_pictures_in_a_table_or_in_memory(tmp_path: Path) -> None:
    raws = [file.read_bytes() for file in sorted(folder_of(tmp_path / "photos").iterdir())]
    arrays = [np.asarray(noise(seed=number)) for number in range(12)]
    for images, other in ((raws, raws[5]), (arrays, arrays[5])):
        before = look_at_pictures(splits_of(images), 0, whole=False)
        assert before.sizes is None and len(before.sample) == 12
        assert look_at_pictures(splits_of(list(images)), 0, whole=False) == before
        changed = splits_of([other, *images[1:]])
        assert "1 of 12" in str(changed_pictures(changed, 0, before, look_at_pictures(changed, 0, whole=False)))
