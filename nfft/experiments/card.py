"""A study's card: its table, differences, and how they came about."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nfft.experiments.results import differences_of, failed, finished, table_of
from nfft.reporting import markdown

if TYPE_CHECKING:
    from nfft.config.study import Study

from nfft.reporting.model_card import template


def render_study(study: "Study", records: Sequence[dict[str, Any]], command: str) -> str:
    """The README.md of a study: its table, differences, and how they came about.

    Args:
        records: of its runs (nfft.experiments.results).
        command: what was typed.
    """
    done = finished(records)
    in_table = [each for each in done if each["row"]]
    machines = dict.fromkeys(f"{each['run']['hardware']['name']}, {_threads(each['run'])}" for each in done)
    facts = {
        "study": study,
        "command": command,
        "runs": len(done),
        "seeds": len({each["seed"] for each in in_table}),
        "splits": _splits(in_table),
        "table": _escaped(table_of(study, records)),
        "differences": _escaped(differences_of(study, records)),
        "hardware": list(machines),
        "precisions": sorted({each["run"]["precision"] for each in done}),
        "seconds": sum(each["training"]["wall_seconds"] for each in done),
        "versions": list(dict.fromkeys(_versions(each["run"]) for each in done)),
        "pretrained": [each for each in done if not each["row"]],
        "failed": failed(records),
    }
    return template("study.md").render(facts)


def _escaped(lines: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[markdown.escape(cell) for cell in line] for line in lines]


def _splits(records: Sequence[dict[str, Any]]) -> str:
    """Of which split the figures of a study are: "test", or each with its columns where they differ."""
    columns: dict[str, list[str]] = {}
    for each in records:
        found = columns.setdefault(each["split"], [])
        found += [] if each["column"] in found else [each["column"]]
    if len(columns) == 1:
        return next(iter(columns))
    return " and ".join(
        f"{split} ({'; '.join(markdown.escape(name) for name in names)})" for split, names in columns.items()
    )


def _threads(run: dict[str, Any]) -> str:
    return markdown.counted(run["threads"], "thread")


def _versions(run: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in run["versions"].items())
