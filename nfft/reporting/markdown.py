"""Facts as the text of a card: escaped where users or data wrote them, in words and units where they are numbers."""

import json
import math
import re
from numbers import Integral, Real
from typing import Any, TypeGuard

from nfft.intervals import interval_of_share
from nfft.text import one_line, printable, shorten

ABSENT = "–"
NAME = 80  # characters of a class name

# A backslash too: doubled, before a bracket, it would open a formula on the Hub.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "&#92;", "@": "&#64;"}


def escape(text: Any) -> str:
    """`text` on one line such that Markdown and HTML show it as it is: in a sentence, a heading or a table cell."""
    text = one_line(text)
    for character, entity in _ENTITIES.items():
        text = text.replace(character, entity)
    text = re.sub(r"([`*_\[\]|~$])", r"\\\1", text)
    text = re.sub(r"(?i)\b(https?|ftp|mailto|xmpp):", r"\1&#58;", text)
    text = re.sub(r"(?i)\b(www)\.", r"\1&#46;", text)
    return re.sub(r"^(\d*)([.)]|[-+=#]+)(?=\s|$)", r"\1\\\2", text)


def named(name: Any) -> str:
    """The name of a class, escaped, its middle left out where it is very long."""
    return escape(shorten(str(name), NAME))


def listed(names: list[str], limit: int = 5) -> str:
    """Names of classes in a sentence: "a, b and c", or "a, b and 7 more"."""
    if len(names) > limit:
        return f"{', '.join(named(name) for name in names[: limit - 1])} and {amount(len(names) - limit + 1)} more"
    *most, last = [named(name) for name in names]
    return f"{', '.join(most)} and {last}" if most else last


def fenced(text: Any, language: str = "") -> str:
    """`text` as a code block, whatever back-ticks it has."""
    lines = printable(text).strip().splitlines()
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence + language, *lines, fence])


def weights(name: str) -> str:
    """A set of weights of a run, by its name in results.json: "raw weights", "averaged (EMA) weights"."""
    if name.startswith("ema-"):
        return f"averaged weights of decay {escape(name.removeprefix('ema-'))}"
    if name.startswith("last-"):
        return f"mean weights of the last {escape(name.removeprefix('last-'))} evaluations"
    known_names = {"raw": "raw weights", "ema": "averaged (EMA) weights", "soup": "soup of raw and averaged weights"}
    return known_names.get(name, f"{escape(name)} weights")


def literal(text: str) -> str:
    """`text` as a string in Python code."""
    return json.dumps(printable(text), ensure_ascii=False)


def percent(share: float | None, digits: int = 2) -> str:
    """A share in [0, 1] as a percentage without its sign; a dash where it is absent or not finite."""
    return f"{100 * share:.{digits}f}" if known(share) else ABSENT


def amount(count: int | None) -> str:
    """A whole number with its thousands apart."""
    return f"{int(count):,}" if known(count) else ABSENT


def counted(count: int | None, one: str, many: str | None = None) -> str:
    """A number of things: "1 image", "2,000 images"."""
    return f"{amount(count)} {one if count == 1 else many or one + 's'}"


def millions(count: int) -> str:
    """A number in millions, to three digits and at most two places."""
    return f"{count / 1e6:.{1 if count >= 1e7 else 2}f}"


def setting(value: Any, digits: int = 6) -> str:
    """A setting as `--set` reads it, a float to so many significant digits."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, Integral)):
        return escape(value)
    number = float(value) if isinstance(value, Real) else None
    return escape(value) if number is None else f"{number:.{digits}g}" if known(number) else ABSENT


def duration(seconds: float | None) -> str:
    """Seconds in words, such as "1 h 2 min" or "3.4 s"."""
    if not known(seconds):
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def memory(count: float | None) -> str:
    """Bytes as MiB or GiB; a dash where they were not measured."""
    if not known(count) or not count:
        return ABSENT
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.0f} MiB" if count >= 10 * 2**20 else f"{count / 2**20:.1f} MiB"


def interval(share: float | None, count: int, digits: int = 2) -> str:
    """Wilson's interval in percent: "71.12–86.66"."""
    if not known(share) or count < 1:
        return ABSENT
    low, high = interval_of_share(share, count)
    return f"{percent(low, digits)}–{percent(high, digits)}"


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number, and a finite one."""
    # A whole number is, and may be too large for a float.
    return value is not None and (isinstance(value, int) or math.isfinite(value))
