"""Single classes are told from scores: taken for others, seldom recognized, never seen."""

from dataclasses import replace

from run_records import make_scores

from nfft.reporting.mistakes import class_facts, most_confused


def pairs(*confusion: tuple[int, int, int], limit: int) -> list[tuple[str, str, int, int]]:
    found = most_confused(make_scores("abc", confusion=confusion), limit)
    return [(pair.true, pair.predicted, pair.count, pair.total) for pair in found]


def test_most_confused_counts_images_then_shares() -> None:
    confusion = ((0, 0, 5), (0, 1, 2), (1, 1, 8), (1, 2, 2), (2, 0, 1), (2, 2, 90))
    assert pairs(*confusion, limit=2) == [("a", "b", 2, 7), ("b", "c", 2, 10)]
    assert pairs(*confusion, limit=9)[-1] == ("c", "a", 1, 91)
    assert pairs((0, 0, 4), (1, 1, 4), limit=5) == []


def test_classes_worth_a_sentence() -> None:
    scores = make_scores("abcdefg")
    recalls = {"a": (10, 1.0), "b": (4, 0.5), "c": (0, 0.0), "d": (4, 0.75), "e": (90, 0.9), "f": (90, 0.9)}
    entries = [replace(entry, count=recalls.get(entry.name, (90, 0.9))[0]) for entry in scores.per_class]
    entries = [replace(entry, recall=recalls.get(entry.name, (90, 0.9))[1]) for entry in entries]
    facts = class_facts(replace(scores, per_class=tuple(entries)))
    assert facts.unseen == ["c"]
    assert (facts.fewest, facts.rarest, facts.alike) == (4, ["b", "d"], False)
    assert [entry.name for entry in facts.weakest] == ["b", "d", "e"]
    assert (facts.as_weak, facts.uncertain) == (2, True)
    assert class_facts(make_scores("ab")).alike
