"""What soups of runs gain over their runs: a table of test top-1, with paired intervals over groups of seeds.

    nfft compare --task digits --methods full --seeds 9 --output-dir runs/digits
    python benchmarks/soups.py runs/soups runs/digits/full --size 3

Each argument is how the names of runs begin that differ in their seeds, as for `nfft soup`. They are taken `--size` at
a time, no run twice, so that the soups are independent of each other: the more seeds, the narrower the intervals. A
soup costs what all of its runs cost together. One that is complete under OUT is not made again.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nfft
from nfft.config.soup import SOUP_KINDS, SoupKind
from nfft.experiments.soup_members import Member, find_members
from nfft.intervals import paired
from nfft.runs.folder import has_ended
from nfft.text import in_markdown

HEADER = ("Test top-1, points", "Soups", "Runs %", "Soups %", "Difference", "95 % interval", "p", "Larger in")


@dataclass(frozen=True)
class Group:
    """Runs of which soups are made.

    Attributes:
        folder: where these lie.
    """

    members: Sequence[Member]
    folder: Path

    def top1(self, kind: SoupKind, task: str | None) -> float:
        """Of the soup of this kind, which is made unless it is there."""
        folder = self.folder / kind
        names = [member.folder for member in self.members]
        run = nfft.Run(folder) if has_ended(folder) else nfft.soup(names, folder, kind, task=task)
        return run.results.quoted.top1

    @property
    def mean(self) -> float:
        return statistics.fmean(member.results.quoted.top1 for member in self.members)

    @property
    def best(self) -> float:
        """Of the run that validation would choose."""
        best = max(self.members, key=lambda member: (member.results.validation.top1, -member.results.validation.loss))
        return best.results.quoted.top1


def groups_of(prefix: str, size: int, out: Path) -> list[Group]:
    """The runs of a comparison, so many at a time in the order of their seeds; what is left over is left out."""
    members = find_members([prefix])
    place = out / Path(prefix).resolve().parent.name / Path(prefix).name
    cuts = range(0, len(members) - size + 1, size)
    return [Group(members[first : first + size], place / f"{size}-from-{first}") for first in cuts]


def row(name: str, before: Sequence[float], after: Sequence[float]) -> list[str]:
    gain = paired(before, after)
    ends = "–" if gain.low is None or gain.high is None else f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}"
    means = [f"{100 * statistics.fmean(values):.2f}" for values in (before, after)]
    p = "–" if gain.p is None else f"{gain.p:.3f}"
    return [name, str(gain.pairs), *means, f"{100 * gain.mean:+.2f}", ends, p, f"{gain.larger} of {gain.pairs}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", nargs="+", metavar="RUNS")
    parser.add_argument("--size", type=int, default=3, help="runs a soup (default: 3)")
    parser.add_argument("--kinds", default=",".join(SOUP_KINDS), help="(default: %(default)s)")
    parser.add_argument("--task", help="what all runs were trained on, where they do not say where that is")
    given = parser.parse_args()
    groups = [group for prefix in given.runs for group in groups_of(prefix, given.size, given.out)]
    lines = [list(HEADER)]
    for kind in given.kinds.split(","):
        soups = [group.top1(kind, given.task) for group in groups]
        lines.append(row(f"{kind} over the mean of its runs", [group.mean for group in groups], soups))
        lines.append(row(f"{kind} over the run that validation chooses", [group.best for group in groups], soups))
    print(in_markdown(lines), end="")


if __name__ == "__main__":
    main()
