"""The model card says what happened, and says it as text whatever the names are."""

import math
import re

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt

from nfft.card import escape, interval, render_card

HOSTILE = [
    "a|b", "<script>alert(1)</script>", "`x`", "[x](http://y)", "two\n\nlines", "é/ü", "$x_1$", "*bold*_it_",
    "# heading", "- item", "1. first", "\\|", "\\(x\\)", "![i](http://y/z.png)", "&lt;b&gt;", "www.example.org",
    "http://example.org", "\u202eright to left", "\ud800", "---", "{{ run }}", "```", "a@b.org", "nul\x00",
]  # fmt: skip


def make_scores(names: list[str], split: str = "test", wrong: int = 2) -> dict:
    confusion = [[8 if i == j else 0 for j in range(len(names))] for i in range(len(names))]
    for row in range(len(names)):
        confusion[row][(row + 1) % len(names)] += wrong
    count = sum(map(sum, confusion))
    return {
        "split": split, "count": count, "left_out": 0, "resolution": 256, "loss": 0.71,
        "top1": 8 * len(names) / count, "top5": 0.99 if len(names) > 5 else None, "mean_per_class": 0.795, "ece": 0.031,
        "per_class": [{"name": name, "count": 10, "precision": 0.8, "recall": 0.8, "f1": 0.8} for name in names],
        "confusion": confusion, "images_per_second": 210.0,
    }  # fmt: skip


def make_run(names: list[str], **task: object) -> dict:
    return {
        "command": "nfft --task flowers --set lr=0.1",
        "started": "2025-05-04T12:00:00+00:00",
        "task": {
            "name": "flowers", "title": "Flowers", "homepage": "https://example.org/flowers",
            "citation": "@article{flowers,\n  title = {Flowers}\n}", "licence": "CC BY 4.0", "metric": "top1",
            "note": None, "source": "someone/flowers",
        } | task,
        "model": {
            "name": "timm/nfnet_f0.dm_in1k", "architecture": "nfnet_f0", "parameters": 71_489_094,
            "licence": "apache-2.0",
        },
        "recipe": {"name": "auto", "settings": {"lr": 0.1, "total_steps": 12500, "ema_decay": None, "flip": True}},
        "data": {"classes": names, "train": 4000, "validation": 400, "test": 500, "skipped": 3},
        "seed": 7, "precision": "bf16", "processes": 1, "threads": 2,
        "versions": {"nfft": "0.1.0", "torch": "2.9.0"},
        "hardware": {"device": "cpu", "name": "AMD EPYC", "cores": 2, "memory_bytes": 8 * 2**30},
    }  # fmt: skip


def make_results(names: list[str], test: bool = True) -> dict:
    return {
        "weights": "ema",
        "candidates": {"raw": {"top1": 0.78, "loss": 0.8}, "ema": {"top1": 0.8, "loss": 0.7}},
        "validation": make_scores(names, "validation"),
        "test": make_scores(names) if test else None,
        "training": {
            "steps": 12500, "images": 400_000, "seconds": 4000.0, "wall_seconds": 4000.0, "images_per_second": 100.0,
            "peak_memory_bytes": 3 * 2**30,
        },
    }  # fmt: skip


NAMES = ["daisy", "rose", "tulip"]


def head_and_body(card: str) -> tuple[dict, str]:
    empty, head, body = card.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(head), body


def tables(body: str) -> list[list[str]]:
    """Runs of lines that start with a pipe."""
    found: list[list[str]] = [[]]
    for line in body.splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def html(body: str) -> str:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(body)


def tags(body: str) -> list[str]:
    return re.findall(r"<[^ >]+", html(body))


def test_metadata_is_plain_yaml_of_the_right_types():
    results = make_results(NAMES)
    results["test"]["top1"] = np.float32(0.8)
    results["test"]["mean_per_class"] = np.float64(0.75)
    head, _ = head_and_body(render_card(make_run(NAMES), results))
    assert head["license"] == "apache-2.0"
    assert head["library_name"] == "timm"
    assert head["pipeline_tag"] == "image-classification"
    assert head["base_model"] == "timm/nfnet_f0.dm_in1k"
    assert head["datasets"] == ["someone/flowers"]
    assert head["metrics"] == ["accuracy"]
    assert head["tags"] == ["timm", "nfnet", "normalizer-free", "image-classification"]
    (index,) = head["model-index"]
    assert isinstance(index["name"], str)
    assert [result["dataset"]["split"] for result in index["results"]] == ["test", "validation"]
    metrics = index["results"][0]["metrics"]
    assert [type(metric["value"]) for metric in metrics] == [float, float]
    assert metrics[0]["value"] == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["nfnet-nano", "scratch:test_nfnet"])
def test_what_is_not_on_the_hub_is_not_named_in_the_metadata(name):
    run = make_run(NAMES, source="/data/flowers")
    run["model"] |= {"name": name, "licence": None}
    head, body = head_and_body(render_card(run, make_results(NAMES)))
    assert not {"base_model", "datasets", "license"} & head.keys()
    assert "huggingface.co" not in body


def test_a_licence_outside_the_short_names_of_the_hub_is_named():
    run = make_run(NAMES)
    run["model"]["licence"] = "Weights for research only"
    head, _ = head_and_body(render_card(run, make_results(NAMES)))
    assert (head["license"], head["license_name"]) == ("other", "Weights for research only")


def test_body_states_the_facts():
    _, body = head_and_body(render_card(make_run(NAMES), make_results(NAMES)))
    for fact in (
        "# nfnet\\_f0 on Flowers", "80.00 % top-1 on test",
        "| test | 30 | 256 | 80.00 | 62.69 to 90.49 | – | 79.50 | 3.10 |",
        "averaged (EMA) weights were kept: validation chose", "78.00 % top-1 for the raw", "(curves.png)",
        "(confusion.png)", "daisy was taken for rose in 2 of 10 images (20 %)", "4,000 train", "3 left out",
        "```sh\nnfft --task flowers --set lr=0.1\n```", "| total\\_steps | 12500 |", "| ema\\_decay | none |",
        "| flip | true |", "| Seed | 7 |", "1 h 7 min", "3.0 GiB", "torch 2.9.0", "  title = {Flowers}",
    ):  # fmt: skip
        assert fact in body
    assert "no test split" not in body


def test_scores_of_validation_alone_come_with_a_caution():
    _, body = head_and_body(render_card(make_run(NAMES), make_results(NAMES, test=False)))
    assert "80.00 % top-1 on validation" in body
    assert "no test split" in body


def test_the_custom_of_the_task_picks_the_figure_quoted():
    _, body = head_and_body(render_card(make_run(NAMES, metric="mean_per_class"), make_results(NAMES)))
    assert "79.50 % mean per class on test" in body


def test_per_class_rows_stop_at_twenty_classes():
    many = [f"class {index}" for index in range(21)]
    assert "| Precision % |" in render_card(make_run(many[:20]), make_results(many[:20]))
    assert "| Precision % |" not in render_card(make_run(many), make_results(many))


@pytest.mark.parametrize("names", [HOSTILE[:12], HOSTILE[12:]])
def test_hostile_names_stay_text(names):
    run = make_run(names, title=names[1], note="\n".join(names), homepage="javascript:alert(1)", citation="```\n# x")
    _, body = head_and_body(render_card(run, make_results(names)))
    body.encode("utf-8")
    for table in tables(body):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table
    calm = [f"class {index}" for index in range(len(names))]
    run = make_run(calm, title="Flowers", note="none", homepage="none", citation="none")
    _, plain = head_and_body(render_card(run, make_results(calm)))
    assert tags(body) == tags(plain)


@pytest.mark.parametrize("name", HOSTILE)
def test_escaped_text_reads_as_it_was(name):
    shown = " ".join(re.sub("[\x00\u202e]", "", name).replace("\ud800", "?").split())
    entities = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert html(escape(name)) == f"<p>{entities}</p>\n"
    assert not re.search(r"https?:|www\.|\w@\w", escape(name)), "the Hub would make a link of it"
    assert f"<td>{entities}</td>" in html(f"| a |\n|---|\n| {escape(name)} |")


def test_numbers_that_are_not_finite_are_dashes():
    results = make_results(NAMES)
    for scores in (results["test"], results["validation"]):
        scores |= dict.fromkeys(("loss", "top1", "mean_per_class", "ece"), math.nan)
        scores["per_class"][0] |= {"count": 0, "precision": math.nan, "recall": math.nan, "f1": math.nan}
        scores["confusion"][0] = [0, 0, 0]
    results["candidates"]["raw"]["top1"] = math.nan
    results["training"] |= {"seconds": math.nan, "images_per_second": math.inf, "peak_memory_bytes": 0}
    head, body = head_and_body(render_card(make_run(NAMES), results))
    assert "model-index" not in head
    assert "nan" not in body.lower()
    assert "| daisy | 0 | – | – | – |" in body


def test_interval_matches_published_values():
    # R: prop.test(80, 100, correct = FALSE)
    assert interval(0.8, 100) == "71.12 to 86.66"
    assert interval(1.0, 10).endswith("to 100.00")
    assert interval(0.0, 10).startswith("0.00 to")
    assert interval(math.nan, 10) == interval(0.5, 0) == "–"
