"""The code on a card runs as it stands, the published card follows from its run, and templates are complete."""

import re
from pathlib import Path

import pytest
from pictures import noise

import nfft.cards
from nfft.models.checkpoint import open_checkpoint
from nfft.reporting.model_card import render_bare, render_card
from nfft.runs.record import read_record
from nfft.runs.records import Results, RunRecord

DIGITS = Path(__file__).parents[2] / "cards" / "digits-nfnet-nano"
TEMPLATES = sorted(Path(nfft.cards.__file__).parent.glob("*.md"))


def test_code_for_each_library_runs(checkpoint, monkeypatch, capsys):
    card = render_bare("user/net", open_checkpoint("net", checkpoint), list("abcdefg"))
    local = card.replace("hf-hub:user/net", "local-dir:net").replace("user/net", "net")
    monkeypatch.chdir(checkpoint.parent)
    noise(64).save("photo.jpg")
    best = []
    for code in re.findall(r"```python\n(.*?)```", local, re.DOTALL):
        exec(code, {})
        best.append(re.search(r"'label': '(.)'|^(.) ", capsys.readouterr().out)[0].strip("' ")[-1])
    assert len(best) == 3
    assert len(set(best)) == 1


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_leave_nothing_to_fill_in(template):
    assert not re.search(r"(?i)more information needed|todo|lorem|\[.*here\]", template.read_text())


def test_the_published_card_follows_from_its_records():
    run, results = read_record(RunRecord, DIGITS / "run.json"), read_record(Results, DIGITS / "results.json")
    assert render_card(run, results) == (DIGITS / "README.md").read_text()
