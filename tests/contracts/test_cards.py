"""The code on a card runs as it stands, the published card follows from its run, and templates are complete."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pictures import noise
from PIL import Image

import nfft.cards
from nfft.models.checkpoint import open_checkpoint
from nfft.reporting.model_card import render_bare, render_card
from nfft.runs.record import read_record
from nfft.runs.records import Results, RunRecord

DIGITS = Path(__file__).parents[2] / "cards" / "digits-nfnet-nano"
TEMPLATES = sorted(Path(nfft.cards.__file__).parent.glob("*.md"))


def photos() -> dict[str, Image.Image]:
    """Pictures that libraries open in ways of their own."""
    plain = noise(64).crop((0, 0, 64, 40))
    turned = plain.copy()
    turned.getexif()[0x0112] = 6
    deep = np.random.default_rng(0).integers(0, 65536, (40, 64)).astype(np.uint16)
    return {
        "plain": plain,
        "turned": turned,
        "gray": plain.convert("L"),
        "16 bits": Image.fromarray(deep),
        "12 bits": Image.fromarray(deep // 16),
        "floats": Image.fromarray((deep / 16384).astype(np.float32) - 1),
    }


@pytest.mark.parametrize("kind", photos())
def test_code_for_each_library_runs_and_answers_alike(kind, checkpoint, monkeypatch, capsys):
    taught = {"12 bits": {"integers": [0, 4095]}, "floats": {"floats": [-1, 3]}}
    if kind in taught:
        config = json.loads((checkpoint / "config.json").read_text())
        (checkpoint / "config.json").write_text(json.dumps({**config, "nfft_rendering": taught[kind]}))
    card = render_bare("user/net", open_checkpoint("net", checkpoint), list("abcdefg"))
    local = card.replace("hf-hub:user/net", "local-dir:net").replace("user/net", "net")
    if "bits" in kind or kind == "floats":
        local = local.replace('classify("photo.jpg", top_k', "classify(image, top_k")  # as the line beside it says
    monkeypatch.chdir(checkpoint.parent)
    image = photos()[kind]
    image.save("photo.jpg", "TIFF" if kind == "floats" else "PNG", exif=image.getexif())
    answers, names = [], {}
    for code in re.findall(r"```python\n(.*?)```", local, re.DOTALL):
        exec(code, names)
        said = capsys.readouterr().out
        label = re.search(r"'label': '(.)'|^(.) ", said)[0].strip("' ")[-1]
        answers.append((label, float(re.search(r"0\.\d+", said)[0])))
    assert len(answers) == 3
    for label, score in answers[1:]:
        assert (label, score) == (answers[0][0], pytest.approx(answers[0][1], abs=1e-5))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_leave_nothing_to_fill_in(template):
    assert not re.search(r"(?i)more information needed|todo|lorem|\[.*here\]", template.read_text())


def test_the_published_card_follows_from_its_records():
    run, results = read_record(RunRecord, DIGITS / "run.json"), read_record(Results, DIGITS / "results.json")
    assert render_card(run, results) == (DIGITS / "README.md").read_text()
