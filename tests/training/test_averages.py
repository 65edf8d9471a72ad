"""Further averages of one run: scored, chosen and kept, and the same after an interruption."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import nfft

pytestmark = pytest.mark.usefixtures("blank_pictures")

SETTINGS = {
    "total_steps": 6, "batch_size": 16, "evaluations": 3, "train_resolution": 32, "test_resolution": 32, "threads": 1,
    "task_train_images": 200, "task_validation_fraction": 0.05, "task_test_fraction": 0.05,
}  # fmt: skip
MORE = {"averages": "0.5,0.9", "soup_of_last": 2}
NAMES = ["raw", "ema", "ema-0.5", "ema-0.9", "soup", "last-2"]


def run(folder: Path, **changes: object) -> nfft.Run:
    return nfft.fine_tune("digits", output_dir=folder, **(SETTINGS | changes))


def state(folder: Path, step: int) -> dict[str, np.ndarray]:
    return load_file(folder / "checkpoints" / f"step-{step:08d}" / "state.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> nfft.Run:
    return run(tmp_path_factory.mktemp("averages") / "run", **MORE)


def test_the_best_of_all_is_kept(finished: nfft.Run) -> None:
    results = finished.results
    assert list(results.candidates) == NAMES
    assert results.weights == max(NAMES, key=lambda n: (results.candidates[n].top1, -results.candidates[n].loss))
    lines = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["weights"] for line in lines if line["kind"] == "validation"] == ["ema", "ema", *NAMES]
    # The mean of the raw weights at the last two evaluations, and the soup of raw and averaged ones.
    before, after = state(finished.folder, 4), state(finished.folder, 6)
    saved = load_file(finished.folder / "model.safetensors")
    for name in saved:
        raw, ema = after[f"model.{name}"], after[f"ema.{name}"]
        windows = [after[f"averages.ema-{decay}.{name}"] for decay in ("0.5", "0.9")]
        last = np.mean([before[f"model.{name}"], raw], axis=0, dtype=np.float64)
        np.testing.assert_allclose(after[f"averages.last-2.{name}"], last, rtol=1e-5, atol=1e-7)
        sets = dict(zip(NAMES, [raw, ema, *windows, np.mean([raw, ema, *windows], axis=0), last], strict=True))
        np.testing.assert_allclose(saved[name], sets[results.weights], rtol=1e-5, atol=1e-7)
    assert "ema-0.9" not in finished.card and "averaged weights of decay 0.9" in finished.card


@pytest.mark.slow
def test_what_is_trained_is_the_same_without_them(finished: nfft.Run, tmp_path: Path) -> None:
    plain = run(tmp_path / "plain")
    assert list(plain.results.candidates) == ["raw", "ema"]
    with_more, without = state(finished.folder, 6), state(plain.folder, 6)
    assert {name for name in with_more if not name.startswith("averages.")} == without.keys()
    assert all((with_more[name] == without[name]).all() for name in without)
    assert all(finished.results.candidates[name] == scores for name, scores in plain.results.candidates.items())


def test_a_run_that_goes_on_is_the_same_to_the_bit(finished: nfft.Run, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(finished.folder, folder)
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    (folder / "results.json").unlink()
    resumed = run(folder, **MORE, resume=True)
    assert resumed.results.candidates == finished.results.candidates
    one, two = state(finished.folder, 6), state(folder, 6)
    assert one.keys() == two.keys() and all((one[name] == two[name]).all() for name in one)
    network = "model.safetensors"
    assert (folder / network).read_bytes() == (finished.folder / network).read_bytes()
    with pytest.raises(nfft.UserError, match=r"averages was '0\.5,0\.9', now '0\.5,0\.8'"):
        run(folder, **MORE | {"averages": "0.5,0.8"}, resume=True)


@pytest.mark.slow
def test_adapters_have_them(tmp_path: Path) -> None:
    lora = run(tmp_path / "lora", method="lora", method_rank=2, total_steps=2, evaluations=2, ema_decay=None, **MORE)
    assert list(lora.results.candidates) == [name for name in NAMES if name != "ema"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"averages": "0.9,1"}, r"up to 8 decays of at least 0 and below 1 .* got '0\.9,1'\. Change it"),
        ({"averages": "0.9,0.90"}, "each once, such as 0.99,0.999; got '0.9,0.90'"),
        ({"averages": "ema"}, "averages must be up to 8 decays"),
        ({"averages": "nan"}, "averages must be up to 8 decays"),
        ({"averages": ""}, "averages must be up to 8 decays"),
        ({"averages": ",".join(f"0.{n}" for n in range(1, 99))}, "averages must be up to 8 decays"),
        ({"averages": 0.9}, "averages must be text or none; got 0.9"),
        ({"soup_of_last": 1}, "soup_of_last must be at least 2 and at most 100; got 1"),
        ({"soup_of_last": 4}, "soup_of_last=4: a run of evaluations=3 has no more. Use --set evaluations=4"),
        ({"soup_of_last": 2, "method": "probe"}, "has no part in --method probe"),
        (
            {"averages": "0.9", "model": "scratch:test_resnet"},
            "test_resnet has batch normalization, .* Use --set averages=none",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(tmp_path: Path, settings: dict, says: str) -> None:
    steps = {} if "method" in settings else {"evaluations": 3, "total_steps": 3, "batch_size": 16}
    few = {"task_train_images": 200, "task_validation_fraction": 0.05}
    with pytest.raises(nfft.UserError, match=says):
        nfft.fine_tune("digits", output_dir=tmp_path / "run", **steps, **few, **settings)
    assert not (tmp_path / "run").exists()
