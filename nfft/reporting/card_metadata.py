"""What the Hub reads of a card: its YAML head, and the file of evaluation results."""

import re
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from nfft.models.architectures import is_normalizer_free
from nfft.reporting.markdown import amount, known
from nfft.runs.records import Results, RunRecord, Scores, TaskRecord
from nfft.text import one_line

TAGS = ("timm", "nfnet", "normalizer-free", "image-classification")
SCORES = {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy", "mean_per_class": "Mean per-class accuracy"}
# The Hub refuses a card with another value; "other" goes with a name.
# Source: https://huggingface.co/docs/hub/repositories-licenses
LICENSES = {
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
    "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "lppl-1.3c", "ms-pl",
    "mpl-2.0", "odc-by", "odbl", "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl",
    "lgpl-lr", "unknown", "other",
}  # fmt: skip


def metadata_of_run(run: RunRecord, results: Results) -> dict[str, Any]:
    """The head of a run's card: names and plain values."""
    model, task, is_adapter = run.model, run.task, run.method.artifact == "adapter"
    dataset, base = hub_id(task.source), hub_id(model.name)
    scored = [scores for scores in (results.test, results.validation) if scores is not None]
    evaluated = [entry for scores in scored for entry in _eval_results(task, scores)]
    return _plain(
        model.architecture,
        model.license,
        base_model=base,
        base_model_relation=("adapter" if is_adapter else "finetune") if base else None,
        # The Hub shows code for this library: timm cannot load an adapter.
        library="peft" if is_adapter else "timm",
        datasets=[dataset] if dataset else None,
        metrics=["accuracy"],
        model_name=one_line(f"{model.architecture} on {task.title or task.name}") if evaluated else None,
        eval_results=evaluated or None,
    )


def metadata_of_network(architecture: str, license: str | None, base: str | None) -> dict[str, Any]:
    """The head of a card for a network without a run."""
    return _plain(architecture, license, base_model=base)


def _plain(architecture: str, license: str | None, library: str = "timm", **values: Any) -> dict[str, Any]:
    tags = [tag for tag in TAGS if tag not in ("nfnet", "normalizer-free") or is_normalizer_free(architecture)]
    values |= _license(license)
    return ModelCardData(library_name=library, pipeline_tag="image-classification", tags=tags, **values).to_dict()


def to_yaml(head: dict[str, Any]) -> str:
    """The head as text; the longest entry is last, where the Hub's own class has it too."""
    head = {name: head[name] for name in sorted(head, key=lambda name: name == "model-index")}
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip()


def eval_results(run: RunRecord, results: Results) -> str | None:
    """The text of `.eval_results/nfft.yaml`: the figure that the card quotes, as the Hub's leaderboards read it.

    Returns:
        None where the data have no id on the Hub, or the figure is not a finite number.
    """
    task, scores = run.task, results.quoted
    dataset, figure = hub_id(task.source), scores.metric(task.metric)
    if dataset is None or not known(figure):
        return None
    images = f"{amount(scores.count)} images at {scores.resolution} px"
    # As the client's EvalResultEntry writes it, which clients before 1.4 lack: transformers 4 needs those.
    entry = {
        # Data that declare no benchmark have no tasks to name.
        "dataset": {"id": dataset, "task_id": "default"},
        "value": float(figure),
        "date": run.started[:10],
        "notes": f"{SCORES[task.metric]}, a share of 1, on {one_line(scores.split)}: {images}",
    }
    return yaml.safe_dump([entry], sort_keys=False, allow_unicode=True)


def hub_id(name: str | None) -> str | None:
    """`name` if it has the form of a repository on the Hub, "owner/name"."""
    form = r"(?=.{3,96}\Z)(?!.*(?:--|\.\.))[A-Za-z0-9][\w.-]*/[A-Za-z0-9]([\w.-]*\w)?"
    return name if name and re.fullmatch(form, name, re.ASCII) else None


def _license(name: str | None) -> dict[str, str]:
    """Entries for a license: one of the Hub's short names, or "other" with a name."""
    if not name:
        return {}
    if (short := re.sub(r"\s+", "-", name.strip().lower())) in LICENSES:
        return {"license": short}
    return {"license": "other", "license_name": one_line(name)}


def _eval_results(task: TaskRecord, scores: Scores) -> list[EvalResult]:
    """One entry for each score of a split that is a finite number; floats, since YAML knows no array scalars."""
    figures = {label: scores.metric(name) for name, label in SCORES.items()}
    return [
        EvalResult(
            task_type="image-classification",
            task_name="Image classification",
            dataset_type=hub_id(task.source) or one_line(task.name),
            dataset_name=one_line(task.title or task.name),
            dataset_split=one_line(scores.split),
            metric_type="accuracy",
            metric_name=label,
            metric_value=float(figure),
        )
        for label, figure in figures.items()
        if known(figure)
    ]
