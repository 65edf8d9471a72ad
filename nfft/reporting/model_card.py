"""A model card: the facts of a run, or of a network alone, as the README of its repository."""

import math
import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from nfft.evaluation.metrics import most_confused
from nfft.intervals import interval_of_share
from nfft.reporting import card_merge, card_metadata, markdown, paper_results
from nfft.reporting.card_metadata import eval_results as eval_results
from nfft.reporting.card_metadata import hub_id
from nfft.text import in_markdown

if TYPE_CHECKING:
    from jinja2 import Template

    from nfft.models.checkpoint import Checkpoint


PER_CLASS = 20  # classes up to which the card has a row for each
LISTED = 50  # classes up to which a card without scores names each
CONFUSED = 5  # confused pairs put in words
WEAKEST = 3  # classes put in words
UNCERTAIN = 0.2  # width of an interval that makes a class's figure little more than a hint
FEW = 2000  # images on which chance adds to a calibration error
FILTERS = (
    markdown.amount, markdown.counted, markdown.duration, markdown.escape, markdown.fenced, markdown.listed,
    markdown.memory, markdown.millions, markdown.named, markdown.percent, markdown.setting, in_markdown,
)  # fmt: skip


def render_card(
    run: dict[str, Any],
    results: dict[str, Any],
    *,
    repository: str | None = None,
    evaluations: Sequence[dict[str, Any]] = (),
    earlier: str | None = None,
) -> str:
    """The README.md of a run's model.

    Args:
        run: what was run: command, task, model, recipe, data, seed, versions, hardware (run.json).
        results: what came out: the kept weights, scores per split, training time (results.json).
        repository: "user/name" on the Hub, where it is known.
        evaluations: scores on other data: task, scores, resolution, date and command of each.
        earlier: the card as it stands; what people wrote in it stays: sections with titles that are not generated,
            and metadata that are not.

    Returns:
        YAML metadata and Markdown, the same text for the same facts. Text that came from users or data is
        escaped: it is shown as it was and never read as markup.

    Raises:
        UserError: when the metadata of `earlier` cannot be read.
        KeyError: when a fact is missing.
    """
    quoted = results["test"] or results["validation"]
    method = run.get("method", {"name": "full"})
    facts = {
        "run": run,
        "results": results,
        "evaluations": evaluations,
        "quoted": quoted,
        "splits": [scores for scores in (results["test"], results["validation"]) if scores],
        "confused": _confused(quoted),
        "per_class": quoted["per_class"] if len(quoted["per_class"]) <= PER_CLASS else [],
        "classes": _classes(quoted),
        "paper": _in_paper(run, results),
        "normalizer_free": card_metadata.is_normalizer_free(run["model"]["architecture"]),
        "base_model": hub_id(run["model"]["name"]),
        "dataset": hub_id(run["task"]["source"]),
        "homepage": _url(run["task"]["homepage"]),
        "few": FEW,
        "method": method if method["name"] != "full" else None,
        "adapter": method.get("is_adapter", False),
        "probed": method.get("fits_features", False),
        "base": run["model"]["name"],
        "classes_count": len(run["data"]["classes"]),
    }
    return _render("model.md", facts, card_metadata.metadata_of_run(run, results), repository, earlier)


def render_bare(repository: str, checkpoint: "Checkpoint", labels: list[str]) -> str:
    """The README.md of a network that is shared without a run.

    Args:
        repository: "user/name" on the Hub.
        checkpoint: where the network came from.
        labels: names of its classes, in the order of the logits.
    """
    from nfft.models.transforms import stored_preprocessing

    name, licence = checkpoint.title, checkpoint.preprocessing.get("license")
    base = hub_id(name) if name != repository else None
    preprocessing = stored_preprocessing(checkpoint)
    facts = {
        "architecture": checkpoint.architecture,
        "normalizer_free": card_metadata.is_normalizer_free(checkpoint.architecture),
        "base_model": base,
        "labels": labels,
        "listed_labels": labels if len(labels) <= LISTED else [],
        "preprocessing": preprocessing,
        "adapter": False,
        "resized": math.floor(preprocessing["input_size"][-1] / preprocessing["crop_pct"]),
    }
    head = card_metadata.metadata_of_network(checkpoint.architecture, licence, base)
    return _render("bare.md", facts, head, repository, None)


def edited(earlier: str) -> bool:
    """Whether someone changed, in a card, what nfft had written there; sections and metadata of their own are none.

    A card that nfft did not write counts as changed, an empty one does not.
    """
    return card_merge.is_edited(earlier)


def _render(name: str, facts: dict[str, Any], head: dict[str, Any], repository: str | None, earlier: str | None) -> str:
    """A whole card: what the template makes of the facts, its record, and what people wrote in the earlier one."""
    import jinja2

    before = card_merge.take_apart(earlier or "")
    try:
        body = template(name).render(facts, repository=hub_id(repository)).strip() + "\n"
    except jinja2.UndefinedError as error:
        raise KeyError(error.message) from error
    record = card_merge.sign(_joined(head, body), head, head["tags"])
    titles = [title for title, _ in card_merge.take_apart(body).sections]
    own = card_merge.own_sections(before, titles)
    return _joined({**head, **card_merge.own_metadata(before, head)}, "\n".join([body, record, *_apart(own)]))


def _joined(head: dict[str, Any], body: str) -> str:
    return f"---\n{card_metadata.to_yaml(head)}\n---\n\n{body.rstrip()}\n"


def _apart(texts: list[str]) -> list[str]:
    return [line for text in texts for line in ("", text)]


def template(name: str) -> "Template":
    import jinja2

    folder = resources.files("nfft.cards")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda each: folder.joinpath(each).read_text(encoding="utf-8")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({function.__name__: function for function in FILTERS})
    environment.tests["known"] = markdown.known
    environment.globals["interval"] = markdown.interval
    return environment.get_template(name)


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


def _classes(scores: dict[str, Any]) -> dict[str, Any]:
    """What the scores say of single classes: those without images, with the fewest, and least often recognised."""
    seen = [entry for entry in scores["per_class"] if entry["count"] and markdown.known(entry["recall"])]
    fewest = min((entry["count"] for entry in seen), default=0)
    below = sorted((entry for entry in seen if entry["recall"] < 1), key=lambda entry: entry["recall"])
    weakest = below[:WEAKEST]
    intervals = [interval_of_share(entry["recall"], entry["count"]) for entry in weakest]
    return {
        "unseen": [entry["name"] for entry in scores["per_class"] if not entry["count"]],
        "fewest": fewest,
        "rarest": [entry["name"] for entry in seen if entry["count"] == fewest],
        "alike": bool(seen) and all(entry["count"] == fewest for entry in seen),
        "weakest": weakest,
        "as_weak": sum(entry["recall"] == weakest[-1]["recall"] for entry in below[WEAKEST:]),
        "uncertain": any(high - low > UNCERTAIN for low, high in intervals),
    }


def _in_paper(run: dict[str, Any], results: dict[str, Any]) -> dict[str, Any] | None:
    """The paper's result that stands beside this run's, and whether it was trained for as long."""
    if not results["test"] or "total_steps" not in run["recipe"]["settings"]:
        return None
    model, settings, scores = run["model"], run["recipe"]["settings"], results["test"]
    row = paper_results.comparable(
        run["task"]["name"],
        model["architecture"],
        scores["resolution"],
        not model["name"].startswith("scratch:"),
        parameters=model["parameters"],
        train=run["data"]["train"],
        test=scores["count"],
        sam=settings["sam_rho"] is not None,
    )
    if row is None:
        return None
    return {
        "row": row,
        "address": paper_results.ADDRESS,
        "pretraining": paper_results.PRETRAINING,
        "same_length": (row.steps, row.batch_size) == (settings["total_steps"], settings["batch_size"]),
        "same_sam": row.sam == (settings["sam_rho"] is not None),
    }
