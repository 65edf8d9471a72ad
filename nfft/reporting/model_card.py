"""A model card: the facts of a run, or of a network alone, as the README of its repository."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from nfft.config.views import named_views
from nfft.data.rendering import rendering_from
from nfft.models.checkpoint import Checkpoint
from nfft.models.transforms import stored_preprocessing
from nfft.reporting import card_merge, card_metadata, markdown, paper_results
from nfft.reporting.card_metadata import hub_id
from nfft.reporting.mistakes import class_facts, most_confused
from nfft.runs.records import AddedEvaluation, Results, RunRecord
from nfft.text import in_markdown

PER_CLASS = 20  # classes up to which the card has a row for each
LISTED = 50  # classes up to which a card without scores names each
CONFUSED = 5  # confused pairs put in words
FEW = 2000  # images on which chance adds to a calibration error
FILTERS = (
    markdown.amount, markdown.counted, markdown.duration, markdown.escape, markdown.fenced, markdown.listed,
    markdown.literal, markdown.memory, markdown.millions, markdown.named, markdown.percent, markdown.setting,
    markdown.weights, in_markdown, named_views,
)  # fmt: skip


def render_card(
    run: RunRecord,
    results: Results,
    *,
    repository: str | None = None,
    evaluations: Sequence[AddedEvaluation] = (),
    earlier: str | None = None,
) -> str:
    """The README.md of a run's model.

    Args:
        run: what was run (run.json).
        results: what came out (results.json).
        repository: "user/name" on the Hub, where it is known.
        evaluations: scores on other data.
        earlier: the card as it stands; what people wrote in it stays: sections with titles that are not generated,
            and metadata that are not.

    Returns:
        YAML metadata and Markdown, the same text for the same facts. Text that came from users or data is
        escaped: it is shown as it was and never read as markup.

    Raises:
        UserError: when the metadata of `earlier` cannot be read.
    """
    quoted = results.quoted
    facts = {
        "run": run,
        "results": results,
        "evaluations": evaluations,
        "quoted": quoted,
        "splits": [scores for scores in (results.test, results.validation) if scores is not None],
        "confused": most_confused(quoted, CONFUSED),
        "per_class": quoted.per_class if len(quoted.per_class) <= PER_CLASS else (),
        "classes": class_facts(quoted),
        "paper": _in_paper(run, results),
        "normalizer_free": card_metadata.is_normalizer_free(run.model.architecture),
        "base_model": hub_id(run.model.name),
        "dataset": hub_id(run.task.source),
        "homepage": _url(run.task.homepage),
        "few": FEW,
        "staged": len(results.stages.stages) if results.stages is not None else 0,
        "last": results.stages,
        "soup": results.soup,
        "adapter": run.method.artifact == "adapter",
        "base": run.model.name,
        "classes_count": len(run.data.classes),
        "rendering": rendering_from("run.json", run.data.rendering),
    }
    return _render("model.md", facts, card_metadata.metadata_of_run(run, results), repository, earlier)


def render_bare(repository: str, checkpoint: Checkpoint, labels: list[str]) -> str:
    """The README.md of a network that is shared without a run.

    Args:
        repository: "user/name" on the Hub.
        checkpoint: where the network came from.
        labels: names of its classes, in the order of the logits.
    """
    name, license = checkpoint.title, checkpoint.preprocessing.get("license")
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
        "staged": len(checkpoint.stages.stages) if checkpoint.stages is not None else 0,
        "last": None,
        "rendering": checkpoint.rendering,
        "resized": math.floor(preprocessing["input_size"][-1] / preprocessing["crop_pct"]),
    }
    head = card_metadata.metadata_of_network(checkpoint.architecture, license, base)
    return _render("bare.md", facts, head, repository, None)


def _render(name: str, facts: dict[str, Any], head: dict[str, Any], repository: str | None, earlier: str | None) -> str:
    """A whole card: what the template makes of the facts, its signature, and what people wrote in the earlier one."""
    before = card_merge.take_apart(earlier or "")
    body = template(name).render(facts, repository=hub_id(repository)).strip() + "\n"
    signature = card_merge.sign(_joined(head, body), head, head["tags"])
    titles = [title for title, _ in card_merge.take_apart(body).sections]
    own = card_merge.own_sections(before, titles)
    return _joined({**head, **card_merge.own_metadata(before, head)}, "\n".join([body, signature, *_apart(own)]))


def _joined(head: dict[str, Any], body: str) -> str:
    return f"---\n{card_metadata.to_yaml(head)}\n---\n\n{body.rstrip()}\n"


def _apart(texts: list[str]) -> list[str]:
    return [line for text in texts for line in ("", text)]


@cache
def template(name: str) -> jinja2.Template:
    """A template of `cards/`, by its file's name, with what turns facts into text of Markdown."""
    folder = resources.files("nfft.cards")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda file: folder.joinpath(file).read_text(encoding="utf-8")),
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


@dataclass(frozen=True)
class _InPaper:
    """The paper's result that stands beside a run's, and whether that was trained for as long and with SAM as well."""

    row: paper_results.Row
    same_length: bool
    same_sam: bool
    address: str = paper_results.ADDRESS
    pretraining: str = paper_results.PRETRAINING


def _in_paper(run: RunRecord, results: Results) -> _InPaper | None:
    settings, scores = run.recipe.settings, results.test
    if scores is None or "total_steps" not in settings:
        return None
    with_sam = settings.get("sam_rho") is not None
    row = paper_results.comparable(
        run.task.name,
        run.model.architecture,
        scores.resolution,
        not run.model.from_scratch,
        parameters=run.model.parameters,
        train=run.data.train,
        test=scores.count,
        sam=with_sam,
    )
    if row is None:
        return None
    return _InPaper(
        row,
        same_length=(row.steps, row.batch_size) == (settings["total_steps"], settings.get("batch_size")),
        same_sam=row.sam == with_sam,
    )
