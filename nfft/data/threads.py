"""Work on many images in threads: Pillow decodes without the interpreter's lock."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from nfft.cores import cores

T = TypeVar("T")
BLOCK = 128


def map_in_threads(work: Callable[[int], T], indices: Sequence[int], title: str) -> list[T]:
    """Results of `work` by index, in order; on a terminal, what takes over 5 s shows a bar."""
    blocks = [indices[start : start + BLOCK] for start in range(0, len(indices), BLOCK)]
    with ThreadPoolExecutor(cores()) as pool:
        results = pool.map(lambda block: [work(index) for index in block], blocks)
        bar = tqdm(results, title, len(blocks), delay=5, disable=None, leave=False)
        try:
            return [result for block in bar for result in block]
        except BaseException:
            # Otherwise what has not begun would be waited for, too.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
