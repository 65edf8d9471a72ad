"""The classifier of a probe is the minimum that another solver finds in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from nfft.data.scan import BrokenImage
from nfft.training.probe import solver
from nfft.training.probe.features import Features
from nfft.training.probe.solver import Rows, path

CLASSES, WIDTH = 4, 12


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """Features on scales of their own, one of them constant, and classes that overlap."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 300)
    centres = rng.normal(size=(CLASSES, WIDTH))
    values = (centres[labels] + 1.5 * rng.normal(size=(300, WIDTH))) * 10 ** rng.uniform(-2, 1, WIDTH) + 3
    values[:, 5] = 0.25
    return values.astype(np.float16), labels


def stored(folder: Path, values: np.ndarray, labels: np.ndarray, broken: tuple[int, ...] = ()) -> Features:
    np.save(folder / "rows.npy", values)
    unreadable = [BrokenImage(index, "empty") for index in broken]
    return Features(folder / "rows.npy", labels, "key", rows=len(labels), broken=unreadable)


def reference(values: np.ndarray, labels: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the rows by scikit-learn, whose C weighs the sum of losses against half of the squares."""
    scaled = StandardScaler().fit_transform(values.astype(np.float64))
    solver = LogisticRegression(C=1 / (l2 * len(labels)), tol=1e-10, max_iter=10_000).fit(scaled, labels)
    return solver.predict_proba(scaled), solver.coef_


@pytest.mark.parametrize("l2", [1.0, 0.01, 1e-4])
def test_solution_is_the_one_that_another_solver_finds(
    tmp_path: Path, data: tuple[np.ndarray, np.ndarray], l2: float
) -> None:
    values, labels = data
    rows = Rows([stored(tmp_path, values, labels)], torch.device("cpu"))
    (solution,) = path(rows, CLASSES, [l2])
    expected, _ = reference(values, labels, l2)
    found = solution.logits(values).softmax(1).numpy()
    assert np.abs(found - expected).max() < 2e-3
    assert solution.loss == pytest.approx(-np.log(expected[np.arange(300), labels]).mean(), abs=1e-5)


def test_each_penalty_of_a_path_ends_where_it_would_alone(tmp_path: Path, data: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = data
    rows = Rows([stored(tmp_path, values, labels)], torch.device("cpu"))
    penalties = [1.0, 0.1, 0.01]
    for solution in path(rows, CLASSES, penalties):
        (alone,) = path(rows, CLASSES, [solution.l2])
        assert solution.loss == pytest.approx(alone.loss, abs=1e-4)


def test_rows_in_pieces_are_the_same_rows(
    tmp_path: Path, data: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    values, labels = data
    features = stored(tmp_path, values, labels)
    (whole,) = path(Rows([features], torch.device("cpu")), CLASSES, [0.01])
    monkeypatch.setattr(solver, "CHUNK", 37)
    monkeypatch.setattr(solver, "CACHE_BYTES", 0)
    streamed = Rows([features], torch.device("cpu"))
    assert streamed.kept is None and len(list(streamed)) == 9
    (pieces,) = path(streamed, CLASSES, [0.01])
    assert pieces.loss == pytest.approx(whole.loss, abs=1e-6)


def test_views_count_alike_and_unreadable_images_not_at_all(
    tmp_path: Path, data: tuple[np.ndarray, np.ndarray]
) -> None:
    values, labels = data
    (tmp_path / "again").mkdir()
    twice = [stored(tmp_path, values, labels), stored(tmp_path / "again", values, labels)]
    (once,) = path(Rows(twice[:1], torch.device("cpu")), CLASSES, [0.01])
    (both,) = path(Rows(twice, torch.device("cpu")), CLASSES, [0.01])
    assert both.loss == pytest.approx(once.loss, abs=1e-6)

    damaged = values.copy()
    damaged[[3, 200]] = 1000
    (tmp_path / "damaged").mkdir()
    without = stored(tmp_path / "damaged", damaged, labels, broken=(3, 200))
    kept = np.setdiff1d(np.arange(300), [3, 200])
    (found,) = path(Rows([without], torch.device("cpu")), CLASSES, [0.01])
    expected, _ = reference(values[kept], labels[kept], 0.01)
    assert np.abs(found.logits(values[kept]).softmax(1).numpy() - expected).max() < 2e-3
