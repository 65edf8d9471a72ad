"""The model card says what happened, and says it as text whatever the names are."""

import ast
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from run_records import NAMES, make_results, make_run, make_scores

from nfft.config.study import Study
from nfft.errors import UserError
from nfft.experiments.card import render_study
from nfft.experiments.records import FailedRun, StudyLine, StudyRecord
from nfft.models.checkpoint import Checkpoint
from nfft.reporting.card_merge import is_edited
from nfft.reporting.card_metadata import eval_results
from nfft.reporting.markdown import duration, escape, interval, listed, memory, named, setting
from nfft.reporting.model_card import render_bare, render_card
from nfft.runs.records import AddedEvaluation, Candidate, EvaluatedTask, MethodRecord, Results, RunRecord
from nfft.text import printable

HOSTILE = [
    "a|b", "<script>alert(1)</script>", "`x`", "[x](http://y)", "two\n\nlines", "é/ü", "$x_1$", "*bold*_it_",
    "# heading", "- item", "1. first", "\\|", "\\(x\\)", "![i](http://y/z.png)", "&lt;b&gt;", "www.example.org",
    "http://example.org", "\u202eright to left", "\ud800", "---", "{{ run }}", "```", "a@b.org", "nul\x00",
    "a: b", "'quoted' \"twice\"", "null", "---\nlicense: gpl", "</details>", "<!-- x", "花 🌼", "## Scores", "&#60;b>",
    "\u2028line",
]  # fmt: skip


def of_model(run: RunRecord, **changes: Any) -> RunRecord:
    return replace(run, model=replace(run.model, **changes))


def of_data(run: RunRecord, **changes: Any) -> RunRecord:
    return replace(run, data=replace(run.data, **changes))


def with_settings(run: RunRecord, **changes: Any) -> RunRecord:
    return replace(run, recipe=replace(run.recipe, settings={**run.recipe.settings, **changes}))


def make_evaluation(names: Sequence[str] = NAMES, **task: Any) -> AddedEvaluation:
    birds = EvaluatedTask(**({"name": "cub200", "title": "Birds", "source": "someone/birds"} | task))
    return AddedEvaluation(
        task=birds, scores=make_scores(names, "validation"), resolution=320, date="2025-06-01T10:00:00+00:00",
        command="nfft evaluate runs/x --task cub200",
    )  # fmt: skip


def head_and_body(card: str) -> tuple[dict, str]:
    empty, head, body = card.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(head), body


def parsed(card: str) -> ModelCard:
    """The card as the Hub's own class reads it, once as it is and once as that class writes it."""
    loaded = ModelCard(card)
    assert ModelCard(str(loaded)).data.to_dict() == loaded.data.to_dict()
    assert "".join(str(loaded).split()) == "".join(card.split())
    return loaded


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


def titles(body: str) -> list[str]:
    """Headings below the card's own."""
    tokens = MarkdownIt("commonmark").parse(body)
    return [after.content for each, after in itertools.pairwise(tokens) if each.type == "heading_open"][1:]


def test_metadata_is_plain_yaml_of_the_right_types():
    results = make_results(top1=np.float32(0.8), mean_per_class=np.float64(0.75))
    head, _ = head_and_body(render_card(make_run(), results))
    assert head["license"] == "apache-2.0"
    assert head["library_name"] == "timm"
    assert head["pipeline_tag"] == "image-classification"
    assert head["base_model"] == "timm/nfnet_f0.dm_in1k"
    assert head["base_model_relation"] == "finetune"
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
    run = of_model(make_run(source="/data/flowers"), name=name, license=None)
    head, body = head_and_body(render_card(run, make_results()))
    assert not {"base_model", "base_model_relation", "datasets", "license"} & head.keys()
    assert not re.findall(r"huggingface\.co/(?!docs/)", body)


def test_a_license_outside_the_short_names_of_the_hub_is_named():
    run = of_model(make_run(), license="Weights for research only")
    head, _ = head_and_body(render_card(run, make_results()))
    assert (head["license"], head["license_name"]) == ("other", "Weights for research only")


def test_body_states_the_facts():
    _, body = head_and_body(render_card(make_run(), make_results()))
    for fact in (
        "# nfnet\\_f0 on Flowers", "80.00 % top-1 on test",
        "| test | 30 | 256 px | 80.00 | 62.69–90.49 | – | 79.50 | 3.10 |",
        "averaged (EMA) weights were kept: validation chose", "78.00 % top-1 for the raw", "(curves.png)",
        "(confusion.png)", "daisy was taken for rose in 2 of 10 images (20 %)", "4,000 train", "3 left out",
        "```sh\nnfft --task flowers --set lr=0.1\n```", "| total\\_steps | 12500 |", "| ema\\_decay | none |",
        "| flip | true |", "| Seed | 7 |", "1 h 7 min", "3.0 GiB", "torch 2.9.0", "  title = {Flowers}",
    ):  # fmt: skip
        assert fact in body
    assert "no test split" not in body


def test_scores_of_validation_alone_come_with_a_caution():
    _, body = head_and_body(render_card(make_run(), make_results(test=False)))
    assert "80.00 % top-1 on validation" in body
    assert "no test split" in body


def test_the_custom_of_the_task_picks_the_figure_quoted():
    _, body = head_and_body(render_card(make_run(metric="mean_per_class"), make_results()))
    assert "79.50 % mean per class on test" in body


def test_per_class_rows_stop_at_twenty_classes():
    many = [f"class {index}" for index in range(21)]
    assert "| Precision % |" in render_card(make_run(many[:20]), make_results(many[:20]))
    assert "| Precision % |" not in render_card(make_run(many), make_results(many))


@pytest.mark.parametrize("names", [HOSTILE[:12], HOSTILE[12:24], HOSTILE[24:]])
def test_hostile_names_stay_text(names):
    run = make_run(names, title=names[1], note="\n".join(names), homepage="javascript:alert(1)", citation="```\n# x")
    further = make_evaluation(names, name=names[0], title=None, source=names[0])
    further = replace(further, date=names[3], command="\n".join(names))
    body = parsed(render_card(run, make_results(names), evaluations=[further])).text
    body.encode("utf-8")
    for table in tables(body):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table
    calm = [f"class {index}" for index in range(len(names))]
    run = make_run(calm, title="Flowers", note="none", homepage="none", citation="none")
    further = replace(make_evaluation(calm, title=None), date="d", command="c")
    plain = parsed(render_card(run, make_results(calm), evaluations=[further])).text
    assert tags(body) == tags(plain)
    assert titles(body) == titles(plain)


@pytest.mark.parametrize("name", HOSTILE)
def test_escaped_text_reads_as_it_was(name):
    shown = " ".join(re.sub("[\x00\u202e]", "", name).replace("\ud800", "?").split())
    entities = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    assert html(escape(name)) == f"<p>{entities}</p>\n"
    assert not re.search(r"https?:|www\.|\w@\w", escape(name)), "the Hub would make a link of it"
    assert f"<td>{entities}</td>" in html(f"| a |\n|---|\n| {escape(name)} |")


def test_numbers_that_are_not_finite_are_dashes():
    nothing = dict.fromkeys(("loss", "top1", "mean_per_class", "ece"), math.nan)
    scores = make_scores(**nothing)
    first, *others = scores.per_class
    first = replace(first, count=0, precision=math.nan, recall=math.nan, f1=math.nan)
    confusion = tuple(pair for pair in scores.confusion if pair[0])
    scores = replace(scores, per_class=(first, *others), confusion=confusion)
    results = make_results()
    training = replace(results.training, seconds=math.nan, images_per_second=math.inf, peak_memory_bytes=0)
    candidates = {**results.candidates, "raw": Candidate(top1=math.nan, loss=0.8)}
    results = replace(results, test=scores, validation=scores, training=training, candidates=candidates)
    head, body = head_and_body(render_card(make_run(), results))
    assert "model-index" not in head
    assert "nan" not in body.lower()
    assert "| daisy | 0 | – | – | – |" in body


def test_interval_matches_published_values():
    # R: prop.test(80, 100, correct = FALSE)
    assert interval(0.8, 100) == "71.12–86.66"
    assert interval(1.0, 10).endswith("–100.00")
    assert interval(0.0, 10).startswith("0.00–")
    assert interval(math.nan, 10) == interval(None, 10) == interval(0.5, 0) == "–"


def test_numbers_and_names_in_words():
    assert [duration(seconds) for seconds in (3.44, 61, 3720)] == ["3.4 s", "1 min", "1 h 2 min"]
    assert [memory(count) for count in (None, 0, 3 * 2**20, 2**31)] == ["–", "–", "3.0 MiB", "2.0 GiB"]
    values = (None, True, 0.1 + 0.2, np.float32(0.5), np.int64(3), "a|b", [1, 2])
    assert [setting(value) for value in values] == ["none", "true", "0.3", "0.5", "3", "a\\|b", "\\[1, 2\\]"]
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "*"]) == "a, b and \\*"
    assert listed(list("abcdefg")) == "a, b, c, d and 3 more"
    assert len(named("x" * 500)) == 80


def test_the_same_facts_give_the_same_text():
    first = render_card(make_run(), make_results())
    assert first == render_card(make_run(), make_results())
    assert first == render_card(make_run(), make_results(), earlier=first)
    assert not re.search(r"[ \t]$", first, re.MULTILINE)
    assert "\n\n\n" not in first


@pytest.mark.parametrize("name", HOSTILE)
def test_metadata_survive_any_text(name):
    run = make_run(title=name, name=name, license=name, source=name)
    run = of_model(run, license=name, architecture=name, name=name)
    data = parsed(render_card(run, make_results())).data
    assert data.pipeline_tag == "image-classification"
    assert (data.license, data.base_model, data.datasets) == ("other", None, None)
    shown = " ".join(re.sub("[\x00\u202e]", "", name).replace("\ud800", "?").split())
    assert data.license_name == data.eval_results[0].dataset_name == shown
    assert len(data.eval_results) == 4


@pytest.mark.parametrize(
    ("said", "short", "name"),
    [
        ("Apache-2.0", "apache-2.0", None), ("CC BY 4.0", "cc-by-4.0", None), ("other", "other", None),
        ("proprietary", "other", "proprietary"),
    ],
)  # fmt: skip
def test_only_licenses_that_the_hub_knows_go_without_a_name(said, short, name):
    data = ModelCard(render_card(of_model(make_run(), license=said), make_results())).data
    assert (data.license, data.license_name) == (short, name)


def test_a_network_with_batch_normalisation_is_not_called_free_of_it():
    run = of_model(make_run(), name="scratch:bn_resnet50", architecture="bn_resnet50", license=None)
    card = ModelCard(render_card(run, make_results()))
    assert card.data.tags == ["timm", "image-classification"]
    assert "ormalizer" not in card.text


def test_code_for_each_library_names_the_repository():
    card = render_card(make_run(), make_results(), repository="me/flowers-nfnet")
    assert 'AutoNFNet.from_pretrained("me/flowers-nfnet")' in card
    assert 'timm.create_model("hf-hub:me/flowers-nfnet", pretrained=True)' in card
    assert 'pipeline("image-classification", model="me/flowers-nfnet")' in card
    assert "path/to/folder" not in card


@pytest.mark.parametrize("repository", [None, 'x/y") or print("', "me", "me/x--y"])
def test_without_a_repository_the_code_reads_a_folder(repository):
    card = render_card(make_run(), make_results(), repository=repository)
    assert 'AutoNFNet.from_pretrained("path/to/folder")' in card
    assert 'timm.create_model("local-dir:path/to/folder", pretrained=True)' in card
    assert "hf download USER/NAME --local-dir path/to/folder" in card
    assert "me/x" not in card


def limits(card: str) -> str:
    return card.split("## Intended use and limits\n")[1].split("\n## ")[0]


def with_classes(results: Results, counts: Sequence[int], recalls: Sequence[float]) -> Results:
    """Test scores with so many images of each class, so many of which were recognized."""
    assert results.test is not None
    entries = [
        replace(entry, count=count, recall=recall)
        for entry, count, recall in zip(results.test.per_class, counts, recalls, strict=True)
    ]
    return replace(results, test=replace(results.test, per_class=tuple(entries)))


def test_limits_are_stated_from_the_facts():
    results = with_classes(make_results(left_out=2, ece=0.01), (10, 4, 0), (1.0, 0.5, 0.0))
    said = limits(render_card(make_run(), results))
    for fact in (
        "one of its 3 classes, which the table above names",
        "trained on 4,000 images. The fewest images in test, 4, are of class rose.",
        "no image of class tulip in test: how well it knows this class was not measured",
        "Least often recognised in test: rose (50 % of 4 images, 95 % interval 15–85). So few images",
        "by 1.0 points on average (test, expected calibration error): it can be read as the chance of being right.",
        "scored at 256 px: each picture is resized to 288 × 288 px", "3 of all before training, 2 of test while",
        "Other cameras, places and kinds of picture were not tried", "Licence of the data: CC BY 4.0.",
        "fine-tuned from: apache-2.0.",
    ):  # fmt: skip
        assert fact in said


def test_limits_leave_out_what_does_not_apply():
    run = of_data(of_model(make_run(license=None), name="scratch:nfnet_f0", license=None), skipped=0)
    said = limits(render_card(run, with_classes(make_results(ece=math.nan), (10, 10, 10), (1.0, 1.0, 1.0))))
    assert "scored on 10 images of each class." in said
    assert "Licence of the data: not stated." in said
    for absent in ("Least often", "calibration", "could not be read", "weights it was fine-tuned from", "nan", "None"):
        assert absent not in said


def test_many_classes_as_weak_as_the_last_are_counted():
    names = [f"class {index}" for index in range(30)]
    said = limits(render_card(make_run(names), make_results(names)))
    assert "class 2 (80 % of 10 images, 95 % interval 49–94). As rarely as the last: 27 more classes." in said
    assert "named in `config.json`" in said


def test_further_evaluations_have_a_table_of_their_own():
    card = render_card(make_run(), make_results(), evaluations=[make_evaluation()])
    assert "| Birds, validation | 30 | 256 px | 80.00 | 62.69–90.49 | – | 79.50 | 3.10 |" in card
    assert "on 2025-06-01:\n\n```sh\nnfft evaluate runs/x --task cub200\n```" in card
    assert "Apart from what is listed under Further evaluations, other cameras" in card
    without = render_card(make_run(), make_results(), earlier=card)
    assert "Further evaluations" not in without, "a generated section that has nothing to say any more goes"
    assert not is_edited(card)


def test_further_evaluations_say_of_which_views_they_are():
    single = make_evaluation()
    several = [replace(single, scores=replace(single.scores, views=views)) for views in ("flip", "crops-flip")]
    card = render_card(make_run(), make_results(), evaluations=[single, *several])
    for views in ("", ", mean of 2 views (flip)", ", mean of 10 views (crops-flip)"):
        assert f"| Birds, validation{views} | 30 | 256 px | 80.00 |" in card
        assert f"Birds, validation at 256 px{views}, on 2025-06-01:" in card


def imagenet(
    architecture: str, parameters: int, resolution: int, name: str = "timm/weights.in1k", **settings: object
) -> tuple[RunRecord, Results]:
    """A run on ImageNet, with the scores of three classes standing for a thousand."""
    run = of_model(make_run(name="imagenet1k", title="ImageNet-1k"), name=name, architecture=architecture)
    run = of_data(of_model(run, parameters=parameters), train=1_268_000, validation=13_000, test=50_000)
    return with_settings(run, **settings), make_results(count=50_000, resolution=resolution)


def test_the_papers_figure_stands_beside_a_comparable_one():
    run, results = imagenet("nf_resnet50", 25_557_032, 224, total_steps=15_000, batch_size=2048)
    card = render_card(run, results)
    assert "| test, in the paper | 50,000 | 224 px | 79.5 | – | – | – | – |" in card
    assert "Table 4: NF-ResNet-50, pre-trained on JFT-300M, fine-tuned at 224 px: 79.5 % (one seed)." in card
    assert "not public; this network started from timm/weights.in1k.\n" in card
    short = render_card(*imagenet("nf_resnet50", 25_557_032, 224, sam_rho=0.05))
    assert "for 15,000 steps of 2,048 images, this one for 12,500 of 32." in short
    assert "It was trained without SAM, this one with." in short


def test_a_run_from_random_weights_stands_beside_the_papers():
    card = render_card(*imagenet("dm_nfnet_f0", 71_489_094, 256, "scratch:dm_nfnet_f0"))
    assert "| test, in the paper | 50,000 | 256 px | 83.6 | – | 96.8 | – | – |" in card
    assert "Table 3: NFNet-F0, from random weights, at 256 px: 83.6 % (mean of 3 seeds)." in card
    assert "JFT" not in card


def test_nothing_is_said_of_the_paper_where_nothing_compares():
    run, results = imagenet("nf_resnet50", 25_557_032, 256)
    assert "he paper" not in render_card(run, results)
    run, results = imagenet("nf_resnet50", 25_557_032, 224)
    assert "he paper" in render_card(run, results)
    assert "he paper" not in render_card(run, replace(results, test=None))
    settings = {name: run.recipe.settings[name] for name in ("test_resolution", "test_margin")}
    run = replace(run, recipe=replace(run.recipe, settings=settings))
    assert "he paper" not in render_card(run, results), "what takes no steps is no run like the paper's"
    assert "he paper" not in render_card(make_run(), make_results())


NOTES = """## Notes

My *own* words:

```md
## Scores
```

| a | b |
|---|---|
| 1 | 2 |"""


def test_sections_written_by_hand_stay_as_they_are():
    card = render_card(make_run(), make_results())
    before, after = card.split("## Training data")
    mixed = f"{before}{NOTES}\n\n## Training data{after}\n## Thanks\n\nTo all.\n"
    assert not is_edited(mixed)
    results = make_results(top1=0.9)
    again = render_card(make_run(), results, earlier=mixed)
    assert again.endswith(f"-->\n\n{NOTES}\n\n## Thanks\n\nTo all.\n")
    assert "90.00 % top-1 on test" in again and "80.00 % top-1 on test" not in again
    assert again == render_card(make_run(), results, earlier=again)
    assert again == render_card(make_run(), results, earlier=again.replace("\n", "\r\n"))
    assert not is_edited(again)


def test_a_paragraph_below_the_generated_part_stays():
    card = render_card(make_run(), make_results()) + "\nAsk me about it.\n"
    again = render_card(make_run(), make_results(), earlier=card)
    assert again == card
    assert not is_edited(card)


def test_metadata_written_by_hand_stay():
    run = of_model(make_run(), license=None)
    card = render_card(run, make_results())
    mixed = card.replace("tags:\n", "license: mit\nlanguage: en\ntags:\n- flowers\n", 1)
    assert not is_edited(mixed)
    run = of_model(run, name="nfnet-nano")
    again = render_card(run, make_results(), earlier=mixed)
    data = parsed(again).data
    assert (data.license, data["language"]) == ("mit", "en")
    assert data.tags == ["timm", "nfnet", "normalizer-free", "image-classification", "flowers"]
    assert data.base_model is None, "what was generated and is true no more goes"
    assert again == render_card(run, make_results(), earlier=again)
    assert not is_edited(again)


def test_a_license_that_is_known_goes_over_one_set_by_hand():
    card = render_card(make_run(), make_results()).replace("license: apache-2.0", "license: mit")
    assert is_edited(card)
    assert ModelCard(render_card(make_run(), make_results(), earlier=card)).data.license == "apache-2.0"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fine-tuned from", "distilled from"), ("pipeline_tag: image-classification\n", ""), ("# nfnet", "# My nfnet"),
        ("## Mistakes\n", ""), ("| daisy | 10 |", "| daisy | 11 |"), ("- nfnet\n", ""), ('"sha256": "', '"sha256": "0'),
        ("<!-- Generated", "<!-- Made"), ("value: 0.8\n", "value: 0.9\n"),
    ],
)  # fmt: skip
def test_changes_of_generated_text_are_noticed(old, new):
    card = render_card(make_run(), make_results())
    assert old in card
    assert not is_edited(card)
    assert is_edited(card.replace(old, new, 1))


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text, str.rstrip])
def test_line_endings_are_no_change(change):
    assert not is_edited(change(render_card(make_run(), make_results())))


def test_a_card_of_somebody_elses_counts_as_changed():
    assert is_edited("# My network\n\nIt is good.\n")
    assert is_edited("---\nlicense: [\n---\n")
    assert not is_edited("")
    assert not is_edited("\n")


def test_what_somebody_wrote_before_nfft_is_kept_but_for_what_nfft_writes():
    earlier = (
        "---\nlicense: mit\npipeline_tag: other\ntags: [mine]\n---\n# Mine\n\n## Use\n\nOld.\n\n## Story\n\nLong.\n"
    )
    run = of_model(make_run(), license=None)
    card = parsed(render_card(run, make_results(), earlier=earlier))
    assert (card.data.license, card.data.pipeline_tag) == ("mit", "image-classification")
    assert card.data.tags[-1] == "mine"
    assert card.text.endswith("-->\n\n## Story\n\nLong.\n")
    assert "Old." not in card.text


@pytest.mark.parametrize("head", ["license: [mit", "- a\n- b", "1: x", "a: b: c", "x: !!python/name:os.system"])
def test_metadata_that_cannot_be_read_are_the_users_to_mend(head):
    earlier = f"---\n{head}\n---\n\n## Notes\n"
    with pytest.raises(UserError, match=r"metadata of the card, README\.md, .* (Mend it|move the card away)"):
        render_card(make_run(), make_results(), earlier=earlier)


def test_the_line_of_a_mistake_in_the_metadata_is_named():
    with pytest.raises(UserError, match=r"not valid YAML \(line 4: mapping values are not allowed in this context\)"):
        render_card(make_run(), make_results(), earlier="---\na: 1\nb: 2\nc: d: e\n---\n")


def test_evaluation_results_for_the_hub():
    text = eval_results(make_run(metric="mean_per_class"), make_results(mean_per_class=np.float32(0.5)))
    assert yaml.safe_load(text) == [{
        "dataset": {"id": "someone/flowers", "task_id": "default"}, "value": 0.5, "date": "2025-05-04",
        "notes": "Mean per-class accuracy, a share of 1, on test: 30 images at 256 px",
    }]  # fmt: skip
    assert "value: 0.5\n" in text and "!!" not in text
    validation = eval_results(make_run(), make_results(test=False))
    assert "on validation" in yaml.safe_load(validation)[0]["notes"]


def test_no_evaluation_results_without_data_on_the_hub_or_a_number():
    assert eval_results(make_run(source="local files"), make_results()) is None
    assert eval_results(make_run(), make_results(top1=math.nan)) is None


@pytest.mark.parametrize("name", HOSTILE)
def test_the_code_for_an_adapter_names_its_base_whatever_that_is(name):
    method = MethodRecord(name="lora", settings={"rank": 4, "dora": False, "alpha": None}, artifact="adapter")
    run = of_model(replace(make_run(), method=method), name=name, trained=90_000)
    head, body = head_and_body(render_card(run, make_results()))
    assert head["library_name"] == "peft"
    assert "The method is lora with rank 4, dora false: 90,000 of 71,489,094 parameters were trained." in body
    (line,) = re.findall("^base = .*$", body, re.MULTILINE)
    (call,) = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call)]
    assert ast.literal_eval(call.args[0]) == printable(name)


def test_a_probe_has_neither_steps_nor_curves_of_them():
    settings = {"test_resolution": 256, "test_margin": 32}
    method = MethodRecord(name="probe", settings={"l2": None, "views": 0})
    run = replace(make_run(), method=method, recipe=replace(make_run().recipe, settings=settings))
    results = make_results()
    training = replace(results.training, steps=None, clipped=None, l2=0.001)
    results = replace(results, weights="raw", candidates={"raw": results.candidates["raw"]}, training=training)
    card = render_card(run, results)
    assert "validation chose its L2 penalty, 0.001." in card
    assert "against the L2 penalty of the classifier](curves.png)" in card
    assert "| Images that went through the network | 400,000 |" in card
    assert "| Steps |" not in card and "augmented images" not in card


def make_checkpoint(name: str = "timm/dm_nfnet_f0.dm_in1k", license: str | None = "apache-2.0") -> Checkpoint:
    config = {
        "license": license, "input_size": [3, 192, 192], "test_input_size": [3, 256, 256], "crop_pct": 0.9,
        "crop_mode": "squash", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5], "interpolation": "bicubic",
    }  # fmt: skip
    return Checkpoint(name, "dm_nfnet_f0", Path("nowhere"), {"pretrained_cfg": config})


def test_a_network_without_a_run_has_a_card_too():
    card = parsed(render_bare("me/net", make_checkpoint(), HOSTILE))
    assert (card.data.license, card.data.base_model) == ("apache-2.0", "timm/dm_nfnet_f0.dm_in1k")
    assert (card.data.library_name, card.data.eval_results) == ("timm", None)
    for fact in (
        "# net", 'AutoNFNet.from_pretrained("me/net")', '"hf-hub:me/net"', 'model="me/net"', "- a\\|b\n",
        "| Resize | to 284 × 284 px, whatever the proportions, bicubic |", "| Crop | the middle 256 × 256 px |",
        "| Standard deviation | 0.25, 0.5, 0.5 |",
    ):  # fmt: skip
        assert fact in card.text
    calm = render_bare("me/net", make_checkpoint(), [str(index) for index in range(len(HOSTILE))])
    assert tags(card.text) == tags(ModelCard(calm).text)
    assert titles(card.text) == ["Use", "Preprocessing", "Classes"]
    assert not is_edited(str(calm))


def test_a_card_without_a_run_names_neither_itself_nor_a_folder_as_its_base():
    assert ModelCard(render_bare("me/net", make_checkpoint("me/net"), ["a"])).data.base_model is None
    assert ModelCard(render_bare("me/net", make_checkpoint("runs/x y", None), ["a"])).data.base_model is None
    many = render_bare("me/net", make_checkpoint(), [f"label {index}" for index in range(51)])
    assert "label 7" not in many and "names of all 51 classes are in `config.json`" in many


def make_record(row: str | None, column: str | None, seed: int, top1: float, split: str = "test") -> StudyRecord:
    results, run = make_results(), with_settings(make_run(), train_resolution=32)
    return StudyRecord(
        cell=f"{row}/{column}-{seed}", row=row, column=column, seed=seed, split=split, count=10, top1=top1, loss=1.0,
        weights=results.weights, candidates=results.candidates, training=results.training,
        run=replace(run, threads=1 + seed),
    )  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_studys_card_shows_its_table_and_what_failed(name: str) -> None:
    plain = {"task": "t", "model": "m"}
    study = Study(
        name="s", title=f"Study {name}", question="Is it so?", rows={"BN": plain, f"NF {name}": plain},
        columns={"a": {}, f"b {name}": {}}, shared={}, pairs=(("BN", f"NF {name}"),), row_label="Net",
        paper="[It](https://arxiv.org) has 1 %.", budget="",
    )  # fmt: skip
    records: list[StudyLine] = [make_record(None, None, 0, 0.2)]
    for seed in (0, 1):
        for row in study.rows:
            records.append(make_record(row, "a", seed, 0.5 + 0.1 * seed + 0.05 * (row != "BN") * (1 + seed)))
            records.append(make_record(row, f"b {name}", seed, 0.25, "validation"))
    lost = FailedRun(cell=f"x/{name}", row="BN", column=f"b {name}", seed=2, failed=f"it diverged {name}")
    records.append(lost)
    body = render_study(study, records, "nfft study s")
    assert body.count("\n# ") + body.startswith("# ") == 1
    shown = tables(body)
    assert [len(table) for table in shown] == [2 + 2, 2 + 3, 2 + 4, 2 + 1]
    assert len({line.replace("\\|", "").count("|") for line in shown[0]}) == 1
    assert "| 55.0 ± 63.5 | 25.0 (1 failed) |" in shown[0][2]
    assert "| +7.5 | -24.3 to +39.3 | 0.205 | 2 of 2 |" in shown[1][2]
    assert "| +0.0 | – | – | 0 of 2 |" in shown[1][3], "where nothing differs, chance cannot be told"
    assert "Top-1 of test (a) and validation (b" in body
    assert "AMD EPYC, 1 thread; AMD EPYC, 2 threads" in body
    assert "Runs that failed" in body and "it diverged" in body
    assert tags(body).count("<table") == 4
