"""A model card: the facts of a run as the README of its model."""

import math
import re
from importlib import resources
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeGuard

from nfft.plot import most_confused
from nfft.text import one_line, printable

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

PER_CLASS = 20  # classes up to which the card has a row for each
CONFUSED = 5  # confused pairs put in words
ABSENT = "–"


def render_card(run: dict[str, Any], results: dict[str, Any]) -> str:
    """The README.md of a model repository.

    Args:
        run: what was run: command, task, model, recipe, data, seed, versions, hardware.
        results: what came out: the kept weights, scores per split, training time.

    Returns:
        YAML metadata and Markdown, the same text for the same facts. Text that came from users or data is
        escaped: it is shown as it was and never read as markup.
    """
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    for read in (amount, duration, escape, fenced, memory, percent, setting):
        environment.filters[read.__name__] = read
    template = resources.files("nfft.cards").joinpath("model.md").read_text(encoding="utf-8")
    quoted = results["test"] or results["validation"]
    return environment.from_string(template).render(
        run=run,
        results=results,
        metadata=_metadata(run, results).to_yaml(),
        quoted=quoted,
        splits=[scores for scores in (results["test"], results["validation"]) if scores],
        confused=_confused(quoted),
        per_class=quoted["per_class"] if len(quoted["per_class"]) <= PER_CLASS else [],
        base_model=hub_id(run["model"]["name"]),
        dataset=hub_id(run["task"]["source"]),
        homepage=_url(run["task"]["homepage"]),
        interval=interval,
    )


def escape(text: Any) -> str:
    """`text` on one line such that Markdown and HTML show it as it is: in a sentence, a heading or a table cell."""
    text = one_line(text)
    for character, entity in _ENTITIES.items():
        text = text.replace(character, entity)
    text = re.sub(r"([`*_\[\]|~$])", r"\\\1", text)
    text = re.sub(r"(?i)\b(https?|ftp|mailto|xmpp):", r"\1&#58;", text)
    text = re.sub(r"(?i)\b(www)\.", r"\1&#46;", text)
    return re.sub(r"^(\d*)([.)]|[-+=#]+)(?=\s|$)", r"\1\\\2", text)


# A backslash too: doubled, before a bracket, it would open a formula on the Hub.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "&#92;", "@": "&#64;"}


def fenced(text: Any, language: str = "") -> str:
    """`text` as a code block, whatever back-ticks it has."""
    lines = printable(text).strip().splitlines()
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence + language, *lines, fence])


def percent(share: float | None, digits: int = 2) -> str:
    """A share in [0, 1] as a percentage without its sign; a dash where it is absent or not finite."""
    return f"{100 * share:.{digits}f}" if _known(share) else ABSENT


def amount(count: int | None) -> str:
    """A whole number with its thousands apart."""
    return f"{int(count):,}" if _known(count) else ABSENT


def setting(value: Any, digits: int = 6) -> str:
    """A setting as `--set` reads it, a float to so many significant digits."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, Integral)):
        return escape(value)
    return f"{float(value):.{digits}g}" if _known(value) else ABSENT


def duration(seconds: float | None) -> str:
    """Seconds in words, such as "1 h 2 min" or "3.4 s"."""
    if not _known(seconds):
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def memory(count: float | None) -> str:
    """Bytes as MiB or GiB; a dash where they were not measured."""
    if not _known(count) or not count:
        return ABSENT
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def interval(share: float, count: int) -> str:
    """Wilson's 95 % interval of a share measured on `count` images, in percent.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not _known(share) or count < 1:
        return ABSENT
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return f"{100 * max(0.0, centre - half):.2f} to {100 * min(1.0, centre + half):.2f}"


def hub_id(name: str) -> str | None:
    """`name` if it has the form of a repository on the Hub, "owner/name"."""
    return name if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name, re.ASCII) else None


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _url(text: str | None) -> str | None:
    """`text` if it can be put between angle brackets as a link."""
    return text if re.fullmatch(r"https?://[A-Za-z0-9\-._~:/?#@!$&'()*+,;=%]+", text or "") else None


def _confused(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """The most-confused pairs, with class names."""
    names = [entry["name"] for entry in scores["per_class"]]
    return [
        {"true": names[true], "predicted": names[predicted], "count": count, "total": total}
        for true, predicted, count, total in most_confused(scores["confusion"], CONFUSED)
    ]


def _metadata(run: dict[str, Any], results: dict[str, Any]) -> "ModelCardData":
    """The card's YAML head, of plain Python values alone."""
    from huggingface_hub import ModelCardData

    model, task = run["model"], run["task"]
    dataset = hub_id(task["source"])
    evaluated = [entry for scores in (results["test"], results["validation"]) for entry in _eval_results(task, scores)]
    return ModelCardData(
        **_licence(model["licence"]),
        library_name="timm",
        pipeline_tag="image-classification",
        base_model=hub_id(model["name"]),
        datasets=[dataset] if dataset else None,
        metrics=["accuracy"],
        tags=["timm", "nfnet", "normalizer-free", "image-classification"],
        model_name=one_line(f"{model['architecture']} on {task['title'] or task['name']}") if evaluated else None,
        eval_results=evaluated or None,
    )


def _licence(licence: str | None) -> dict[str, Any]:
    """Entries for a licence: the Hub takes its own short names, and any other as "other" with a name."""
    if not licence:
        return {}
    if re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", licence.lower()):
        return {"license": licence.lower()}
    return {"license": "other", "license_name": one_line(licence)}


def _eval_results(task: dict[str, Any], scores: dict[str, Any] | None) -> "list[EvalResult]":
    """One entry for each score of a split that is a finite number; floats, since YAML knows no array scalars."""
    from huggingface_hub import EvalResult

    named = {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy", "mean_per_class": "Mean per-class accuracy"}
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image classification",
            dataset_type=hub_id(task["source"]) or one_line(task["name"]),
            dataset_name=one_line(task["title"] or task["name"]),
            dataset_split=one_line(scores["split"]),
            metric_type="accuracy",
            metric_name=label,
            metric_value=float(scores[key]),
        )
        for key, label in named.items()
        if scores and _known(scores[key])
    ]
