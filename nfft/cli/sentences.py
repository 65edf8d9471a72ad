"""Whatever is raised, in a sentence: what happened, and how people mend it."""

import errno
import os
import re
from collections.abc import Iterator

from nfft.errors import UserError
from nfft.text import shorten

QUOTED = 300
PARTED = (
    "another process of this run has ended, or cannot be reached any more: what it, or the launcher, says tells why."
)
DEVICE_MEMORY = (
    "the device's memory is too small for this network at this resolution, or others are using it. Free it, choose a "
    "smaller resolution, or hide the GPU (CUDA_VISIBLE_DEVICES=) to compute on the CPU."
)
MEMORY = (
    "this machine's memory is used up, or what one process may have of it (`ulimit -v`, a container's limit). Free "
    "some, or take less of it: fewer loader processes (--set workers=0), a batch in more parts "
    "(--set accumulation_steps=4), a smaller resolution."
)
THREADS = (
    "no more threads or processes may be started here (`ulimit -u`, or a container's limit). Raise that, or start "
    "fewer: --set workers=0 --set threads=1."
)
SHARED_MEMORY = (
    "the memory that processes share (/dev/shm) is too small or full. Docker gives a container more with "
    "--shm-size=8g, and --set workers=0 does without loader processes."
)
WORKER = (
    "a loader process was ended from outside, by the system when memory is short, or by someone. Free memory, or start "
    "fewer of them (--set workers=0)."
)
OPEN_FILES = (
    "no more files may be open here at once (`ulimit -n`). Raise that, or open fewer: --set workers=0 takes batches "
    "from no other process."
)
NETWORK = (
    "the connection to the Hub failed while something was fetched or sent. See that the network works, and try again."
)
HOME = (
    "a path begins with the home folder of someone who is not known here, as in XDG_CACHE_HOME or HF_HOME. Write the "
    "path in full."
)
DEPTH = "something that was read is nested too deeply to be of use: a file of JSON, a card, or a task file."
# Libraries whose errors are those of the way to the Hub.
CLIENTS = ("httpx", "httpcore", "requests", "urllib3", "huggingface_hub", "aiohttp", "ssl")


def sentence_of(error: BaseException, *, resumes: bool) -> str | None:
    """What to tell people of an error; None where it is a bug, and theirs is only to report it.

    Args:
        resumes: whether the command can go on where it was with --resume.
    """
    if isinstance(error, UserError):
        # A loader process hands over its own with a traceback before it.
        return re.sub(r".*\bnfft\.errors\.\w+: ", "", str(error), flags=re.DOTALL).strip()
    if isinstance(error, SystemExit):
        return (
            f"code that the task brings along has ended the program (exit status {error.code}). Take what exits out of "
            "its file, and raise an error in its place."
        )
    # What ran out is often met again on the way out.
    for met in _chain(error, "__context__"):
        if (text := _run_out(met)) is not None:
            return text + _then(resumes)
    for met in _chain(error, "__cause__"):
        if (text := _refused(met, resumes)) is not None:
            return text
    return None


def _chain(error: BaseException, link: str) -> Iterator[BaseException]:
    seen: set[int] = set()
    met: BaseException | None = error
    while met is not None and id(met) not in seen:
        seen.add(id(met))
        yield met
        met = met.__cause__ or (getattr(met, link) if not met.__suppress_context__ else None)


def _run_out(error: BaseException) -> str | None:
    """Of memory, threads, shared memory, open files, or loader processes."""
    number, text = errno_of(error), str(error)
    if type(error).__name__ == "OutOfMemoryError":
        return DEVICE_MEMORY
    if re.search(r"DataLoader worker .*Bus error|shared memory|torch_\d+_\d+", text) and number != errno.EMFILE:
        return SHARED_MEMORY
    if re.search(r"DataLoader worker \(pid.*(killed by signal|exited unexpectedly)", text):
        return WORKER
    if isinstance(error, MemoryError) or number == errno.ENOMEM or _says(error, OUT_OF_MEMORY):
        return MEMORY
    if number == errno.EAGAIN or _says(error, ("can't start new thread", "Resource temporarily unavailable")):
        return THREADS
    if number in (errno.EMFILE, errno.ENFILE) or _says(error, ("Too many open files",)):
        return OPEN_FILES
    return None


OUT_OF_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "std::bad_alloc",
    "bad allocation",
    "could not create a memory",
    "Unable to allocate",
    "realloc of size",
    "malloc of size",
    "MemoryError",
)


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    """Whether an error of a library or the system has one of these words; those of data quote what others wrote."""
    kinds = (RuntimeError, OSError, ImportError, SystemError)
    return isinstance(error, kinds) and any(each in str(error) for each in words)


def _refused(error: BaseException, resumes: bool) -> str | None:
    """What the system, the network or the data did not give."""
    if _is_parted(error):
        return PARTED
    if type(error).__module__.startswith(CLIENTS) or (
        isinstance(error, (ConnectionError, TimeoutError)) and not isinstance(error, BrokenPipeError)
    ):
        return NETWORK
    if isinstance(error, RecursionError):
        return DEPTH
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return HOME
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        near = error.object[max(0, error.start - 60) : error.end + 20].encode("utf-8", "backslashreplace").decode()
        return (
            f"a name here is not UTF-8, and cannot be written down: …{shorten(near, QUOTED)}… Rename that file or "
            "folder, or name another."
        )
    if (number := errno_of(error)) is None:
        return None
    where = getattr(error, "filename", None)
    where = "the run folder" if where is None and resumes else "a file" if where is None else _shown(where)
    return f"{where} cannot be used: {os.strerror(number)}.{_then(resumes)}"


def _shown(where: object) -> str:
    return shorten(os.fsdecode(where) if isinstance(where, (str, bytes, os.PathLike)) else str(where), QUOTED)


def _then(resumes: bool) -> str:
    return " Mend that, then go on with --resume." if resumes else " Mend that and try again."


def errno_of(error: BaseException) -> int | None:
    """The system's number of an error, also where a library or a loader process has handed it on as text alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno > 0 else None
    if not (isinstance(error, (OSError, RuntimeError)) or type(error).__name__ == "SafetensorError"):
        return None
    told = re.findall(r"\[Errno (\d+)\]|\(os error (\d+)\)|: [\w ]+ \((\d+)\)$", str(error))
    numbers = [int(digits) for found in told for digits in found if digits]
    return next((number for number in reversed(numbers) if number in errno.errorcode), None)


def _is_parted(error: BaseException) -> bool:
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return False
    # Only where torch is there already.
    from nfft.distributed.teller import has_parted

    return has_parted(error)
