"""`nfft predict`: the most probable classes of pictures, on the terminal and as a table."""

import argparse
import csv
import io
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from nfft.cli.arguments import add_model, at_least, new_parser
from nfft.cli.errors import run_command
from nfft.errors import UserError
from nfft.files import write_bytes
from nfft.text import one_line

if TYPE_CHECKING:
    from nfft.auto import AutoNFNet

# A class and its probability: {"label", "score"}.
Classes = list[dict[str, Any]]


def parser() -> argparse.ArgumentParser:
    """The arguments of `nfft predict`."""
    command = new_parser("predict")
    add_model(command)
    command.add_argument("files", nargs="+", type=Path, metavar="FILE|FOLDER", help="pictures, and folders of them")
    command.add_argument("--top-k", type=at_least(1), default=5, help="classes to name (default: %(default)s)")
    command.add_argument("--csv", type=Path, metavar="OUT", help="write a table instead of lines")
    command.add_argument("--batch-size", type=at_least(1), default=32, help="pictures at once (default: %(default)s)")
    return command


def main(arguments: list[str] | None = None) -> int:
    return run_command(predict, parser().parse_args(arguments))


def predict(options: argparse.Namespace) -> int:
    """Classify each file, in order; those that cannot be read are named and passed over."""
    from PIL import Image

    from nfft.auto import AutoNFNet
    from nfft.distributed.accelerator import best_device

    files = pictures(options.files, set(Image.registered_extensions()))
    if options.csv is not None:
        check_table(options.csv)
    classifier = AutoNFNet.from_pretrained(options.model, revision=options.revision).to(best_device())
    top_k = min(options.top_k, len(classifier.labels))
    bar = tqdm(total=len(files), desc="predicting", disable=None if options.csv else True, leave=False)
    rows: list[tuple[Path, Classes]] = []
    for file, classes in classified(classifier, files, top_k, options.batch_size):
        bar.update()
        if isinstance(classes, str):
            print(f"nfft: {one_line(str(file))} cannot be read: {classes}", file=sys.stderr)
            continue
        rows.append((file, classes))
        if not options.csv:
            names = ", ".join(f"{one_line(each['label'])} {each['score']:.1%}" for each in classes)
            print(f"{one_line(str(file))}: {names}", flush=True)
    bar.close()
    if not rows:
        raise UserError(f"none of the {len(files)} files is a picture that can be read.")
    if options.csv:
        write_table(options.csv, rows, top_k)
        print(f"{len(rows):,} pictures: {options.csv}")
    return 0


def pictures(paths: list[Path], endings: Collection[str]) -> list[Path]:
    """The files that were named, and every picture in the folders that were, in order of name.

    Raises:
        UserError: for what does not exist, or a folder without pictures.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in endings and file.is_file())
            if not inside:
                raise UserError(f"{path} holds no pictures, such as .jpg or .png.")
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path}: there is no such file or folder.")
    return files


def classified(
    classifier: "AutoNFNet", files: list[Path], top_k: int, size: int
) -> Iterator[tuple[Path, Classes | str]]:
    """Each file with its classes, or with the reason why it cannot be read; `size` files at a time."""
    from nfft.data.decode import UnreadableImage, decode

    for start in range(0, len(files), size):
        opened: list[tuple[Path, Any]] = []
        for file in files[start : start + size]:
            try:
                opened.append((file, decode(str(file))))
            except UnreadableImage as error:
                opened.append((file, str(error)))
        images = [image for _, image in opened if not isinstance(image, str)]
        classes = iter(classifier.predict(images, top_k, batch_size=size))
        for file, image in opened:
            yield file, image if isinstance(image, str) else next(classes)  # type: ignore[misc]


def check_table(path: Path) -> None:
    """See, before any work, that a table can be put there, and takes the place of nothing but another.

    Raises:
        UserError: when it is a folder, or another file.
    """
    if path.is_dir():
        raise UserError(f"--csv {path} is a folder. Name a file.")
    if path.is_file() and path.stat().st_size and not _is_table(path):
        raise UserError(f"--csv {path} is there already, and is no table of predictions. Choose another name.")


def _is_table(path: Path) -> bool:
    head = b"file,label_1,score_1"
    with path.open("rb") as file:
        return file.read(len(head)) == head


def write_table(path: Path, rows: list[tuple[Path, Classes]], top_k: int) -> None:
    """A CSV file with a row a picture: file, label_1, score_1, label_2, ..."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file", *(f"{what}_{rank + 1}" for rank in range(top_k) for what in ("label", "score"))])
    for file, classes in rows:
        writer.writerow([file, *(value for each in classes for value in (each["label"], f"{each['score']:.6f}"))])
    path.parent.mkdir(parents=True, exist_ok=True)
    # Names of files need not be UTF-8: such ones are written as they are.
    write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))
