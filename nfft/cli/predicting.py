"""What `nfft predict` does once its arguments are read and the libraries are there."""

import argparse
import os
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice

import numpy as np
from tqdm import tqdm

from nfft.auto import AutoNFNet
from nfft.cli.streams import is_heard
from nfft.cores import Moment, cores
from nfft.data.decode import UnreadableImage
from nfft.data.named_files import NamedFiles
from nfft.distributed.accelerator import best_device, make_accelerator, of_all, set_threads
from nfft.errors import UserError
from nfft.reporting.predictions import Row, Table
from nfft.text import one_line

# Rounds of batches that are decoded while the network is at work on the one before.
AHEAD = 2
# Devices and batches of other sizes change a probability by less.
SAME = 0.02


def classify(options: argparse.Namespace, files: NamedFiles, table: Table | None, rank: int, began: Moment) -> int:
    """Classify the files, show or write what comes out, and say how much there is; the exit status.

    Args:
        table: of the first process, where one is asked for.
        rank: of this process.
        began: before the libraries were imported.
    """
    say_unused(files)
    classifier, processes = load(options, began)
    top_k = min(options.top_k, len(classifier.labels))
    names: Iterable[str] = files
    if table is not None:
        table.start(top_k)
        check_model(classifier, table, options.views)
        names = (name for name in files if name not in table.done)
    counts = Counter(read=0, broken=0)
    bar = tqdm(total=files.total, desc="predicting", disable=True if table is None else None, leave=False)
    with table or nullcontext(), bar:
        for rows in classified(classifier, names, top_k, options.views, options.batch_size, rank, processes):
            if rank == 0:
                show(rows, counts, table)
                bar.update(len(rows))
            if table is None and processes == 1 and not is_heard(sys.stdout):
                # As of `| head`: there is no one to tell of the rest.
                return 0
    # In folders that a list has named.
    say_unused(files)
    if rank == 0:
        conclude(counts, table)
    return 0


def check_model(classifier: AutoNFNet, table: Table, views: str) -> None:
    """See that a table that goes on was begun by this model: its first picture still gets the same answer.

    Raises:
        UserError: when it gets another one.
    """
    if table.first is None:
        return
    file, label, score = table.first
    if isinstance(view := view_of(classifier, file, views), str):
        return
    now = {each["label"]: each["score"] for each in classifier.classify([view], len(classifier.labels), views)[0]}
    if label not in now or abs(now[label] - _number(score)) > SAME:
        said = f"{now[label]:.6f}" if label in now else "no such class"
        raise UserError(
            f"--csv {table.path} was begun by another model, or its pictures have changed: {one_line(file)} has "
            f"{one_line(label)} {score} there, and {said} now. Choose another name, or leave out --continue."
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0  # like no probability


def say_unused(files: NamedFiles) -> None:
    """Say once what of the folders that were gone through is not taken for a picture."""
    if files.unused:
        print(f"nfft: not used: {', '.join(map(str, files.unused))}", file=sys.stderr)
        files.unused.clear()


def load(options: argparse.Namespace, began: Moment) -> tuple[AutoNFNet, int]:
    """The classifier, on the device of this process; and how many processes share the work."""
    for line in set_threads(None, began):
        print(f"nfft: {line}", file=sys.stderr)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        accelerator = make_accelerator("fp32")
        with accelerator.local_main_process_first():
            classifier = AutoNFNet.from_pretrained(options.model, revision=options.revision).to(accelerator.device)
        processes = accelerator.num_processes
    else:
        classifier = AutoNFNet.from_pretrained(options.model, revision=options.revision).to(best_device())
        processes = 1
    if options.max_pixels is not None:
        classifier.rendering = replace(classifier.rendering, max_pixels=options.max_pixels)
    return classifier, processes


def classified(
    classifier: AutoNFNet, names: Iterable[str], top_k: int, views: str, size: int, rank: int, processes: int
) -> Iterator[list[Row]]:
    """Rows of each round in the order of the names: `size` files for each process, decoded while others are at work.

    Args:
        names: of the files; of the first process, which hands them to the others.
        views: of each picture.
    """
    remaining, waiting = iter(names), deque[list[tuple[str, Future]]]()
    pool = ThreadPoolExecutor(max(1, cores() // processes))
    is_over = False
    try:
        while True:
            while not is_over and len(waiting) < AHEAD:
                drawn = of_all(list(islice(remaining, size * processes)), processes)
                mine = drawn[rank * size : (rank + 1) * size]
                waiting.append([(name, pool.submit(view_of, classifier, name, views)) for name in mine])
                is_over = not drawn
            if not waiting:
                return
            yield of_all(rows_of(classifier, waiting.popleft(), top_k, views), processes)
    finally:
        pool.shutdown(cancel_futures=True)


def view_of(classifier: AutoNFNet, name: str, views: str) -> np.ndarray | str:
    """What the network is shown of a file, or why it cannot be read."""
    try:
        return classifier.view(name, views)
    except UnreadableImage as error:
        return str(error)


def rows_of(classifier: AutoNFNet, viewed: list[tuple[str, Future]], top_k: int, views: str) -> list[Row]:
    """Files with their classes, or with why they cannot be read."""
    outcomes = [(name, future.result()) for name, future in viewed]
    shown = [view for _, view in outcomes if not isinstance(view, str)]
    classes = iter(classifier.classify(shown, top_k, views))
    return [(name, view if isinstance(view, str) else next(classes)) for name, view in outcomes]


def show(rows: list[Row], counts: Counter[str], table: Table | None) -> None:
    """Put rows into the table, or else on the terminal, and what cannot be read on standard error."""
    for file, outcome in rows:
        counts["broken" if isinstance(outcome, str) else "read"] += 1
        if isinstance(outcome, str):
            print(f"nfft: {one_line(file)} cannot be read: {outcome}", file=sys.stderr)
        elif table is None:
            named = ", ".join(f"{one_line(each['label'])} {each['score']:.1%}" for each in outcome)
            print(f"{one_line(file)}: {named}", flush=True)
    if table is not None:
        table.add(rows)


def conclude(counts: Counter[str], table: Table | None) -> None:
    """Say how much there is.

    Raises:
        UserError: when nothing could be read.
    """
    read, broken = counts["read"], counts["broken"]
    before = table.read_before if table is not None else 0
    if not read + before:
        raise UserError(f"none of the {broken} files is a picture that can be read.")
    if table is not None:
        there = f" ({before:,} of them were there)" if before else ""
        print(f"{read + before:,} pictures{there}: {table.path}")
    if broken:
        where = "; their rows say why" if table is not None else ""
        print(f"nfft: {broken:,} of {read + broken:,} files cannot be read{where}", file=sys.stderr)
