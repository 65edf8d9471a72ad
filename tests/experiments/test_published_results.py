"""The results that are published follow from records of runs that lie beside them."""

from pathlib import Path

import pytest

from nfft.config import registry
from nfft.experiments.card import render_study
from nfft.experiments.records import finished, read_study_lines
from nfft.experiments.results import differences_of, table_of
from nfft.reporting.markdown import escape
from nfft.studies.transfer import table_4
from nfft.text import in_markdown

REPOSITORY = Path(__file__).parents[2]
CARDS = REPOSITORY / "cards"
FOLDERS = sorted(path.parent for path in CARDS.glob("results/*/runs.jsonl"))


def test_there_are_results() -> None:
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_tables_follow_from_the_records(folder: Path) -> None:
    study, records = registry.study(folder.name), read_study_lines(folder / "runs.jsonl")
    card, overview = (folder / "README.md").read_text(), (CARDS / "results.md").read_text()
    for table in (table_of(study, records), differences_of(study, records)):
        assert in_markdown([[escape(cell) for cell in line] for line in table]) in card
        assert in_markdown(table) in overview
    command = card.split("```sh\n")[1].split("\n```")[0]
    assert render_study(study, records, command) == card
    assert f"results/{folder.name}/" in overview
    assert (folder / "study.png").is_file()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_record_says_what_was_run_and_gives_nothing_away(folder: Path) -> None:
    text = (folder / "runs.jsonl").read_text()
    assert "/work" not in text and "/tmp" not in text and "/home" not in text and "/root" not in text
    for run in finished(read_study_lines(folder / "runs.jsonl")):
        assert run.run.command.startswith("nfft finetune ")
        assert run.run.seed == run.seed
        assert 0 < run.top1 < 1 and run.count > 0
        assert run.run.versions and run.run.recipe.settings and run.run.data.fingerprint


@pytest.mark.parametrize("name", ["cards/results.md", "docs/reproduce.md"])
def test_the_papers_table_is_as_nfft_has_it(name: str) -> None:
    assert table_4() in (REPOSITORY / name).read_text()
